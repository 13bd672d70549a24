"""How long simulating takes, and how it grows: `nox -s benchmarks`. Ratios within one run are what counts."""

import pytest

from bench.cases import make_case
from bench.simulator.simulate import simulate_case


@pytest.fixture(autouse=True, scope="module")
def imported():
    """What torch imports with the first step is not the simulator's time."""
    simulate_case(make_case(method="infopro[contrast]", network="cifar_resnet8", module_count=2, batch_size=2))


@pytest.mark.parametrize("depth", [20, 56, 110, 218])
def test_time_grows_with_the_units(benchmark, depth):
    benchmark.group = "depth"
    benchmark(simulate_case, make_case(method="e2e", network=f"cifar_resnet{depth}"))


@pytest.mark.parametrize("batch", [2, 1024, 65_536])
def test_time_does_not_depend_on_the_batch(benchmark, batch):
    benchmark.group = "batch"
    benchmark(simulate_case, make_case(method="dgl", network="resnet32", module_count=4, batch_size=batch))


@pytest.mark.parametrize(
    ("method", "modules"),
    [("e2e", 1), ("checkpoint", 1), ("dgl", 16), ("infopro[contrast]", 16), ("contsup[R1E]", 16), ("dgl", 55)],
)
def test_time_of_resnet110_by_method(benchmark, method, modules):
    benchmark.group = "method"
    benchmark(simulate_case, make_case(method=method, network="resnet110", module_count=modules))
