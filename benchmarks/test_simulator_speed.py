"""How long simulating takes, and how it grows: `nox -s benchmarks`. Ratios within one run are what counts."""

import pytest
import torch
from torch import nn

from bench.cases import make_case
from bench.simulator.least_memory import find_least_memory
from bench.simulator.model import read_model
from bench.simulator.simulate import simulate_case, simulate_step


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


@pytest.mark.parametrize("width", [64, 512, 4096, 32_768])
def test_time_does_not_depend_on_the_parameters(benchmark, width):
    """Twenty linear layers of 4,096 to 1,073,741,824 weights each."""
    benchmark.group = "parameters"

    def build():
        network = nn.Sequential(*(nn.Linear(width, width) for _ in range(20)))
        optimizer = torch.optim.AdamW(network.parameters())
        inputs = torch.empty(16, width)

        def step():
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

        return step, network, optimizer, inputs

    benchmark(simulate_step, build)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_time_by_number_format(benchmark, precision):
    benchmark.group = "number format"
    benchmark(simulate_case, make_case(method="e2e", network="resnet110", precision=precision))


@pytest.mark.parametrize(("method", "modules"), [("e2e", 1), ("contsup[R1E]", 16), ("dgl", 55)])
def test_time_of_the_least_memory(benchmark, method, modules):
    benchmark.group = "least memory"
    _, simulation = simulate_case(make_case(method=method, network="resnet110", module_count=modules))
    benchmark(find_least_memory, simulation.stream, read_model().settings)
