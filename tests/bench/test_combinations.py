"""Random combinations of method, options, network and split: what the pieces say is what a whole simulation says.

`nox -s combinations` samples many more; a combination that fails is named by its seed.
"""

import os
import random
from itertools import pairwise

import pytest

from bench.balance import find_balancer
from bench.cases import make_case
from bench.simulated_search import search_by_simulation
from bench.simulator.pieces import fold
from bench.simulator.simulate import simulate_case
from bench.workloads.networks import get_network
from methods.spec import SpecError
from partition import Split

COUNT = int(os.environ.get("PEAKBENCH_COMBINATIONS", "10"))
LOCAL = (
    *("greedy", "dgl", "infopro[softmax]", "infopro[contrast]", "infopro[softmax,step=per_module]", "dib[softmax]"),
    *("contsup[R0]", "contsup[E]", "contsup[R1]", "contsup[R1E]", "contsup[R2E]", "mlm", "mlaan", "lam"),
    *("mlm[forwards=repeat]", "backlink[l=1]", "backlink[l=4]", "contsup[M1R1E]"),
)
BESIDES = ("", "", "+decoder", "+backlink[l=2]", "+checkpoint[1]", "+checkpoint[2]", "+checkpoint[balanced]")
NETWORKS = ("cifar_resnet8", "cifar_resnet14", "cifar_resnet8@64", "vgg11_bn")
OPTIONS = {
    "precision": ("float32", "float32", "bfloat16", "float16"),
    "optimizer": (None, None, "adam", "adamw"),
    "memory_format": ("contiguous", "channels_last"),
    "tf32": (True, False),
}


def draw_case(source):
    """A random combination that can be written."""
    while True:
        method = source.choice((*LOCAL, "e2e")) + source.choice(BESIDES)
        options = {name: source.choice(values) for name, values in OPTIONS.items()}
        try:
            return make_case(method=method, network=source.choice(NETWORKS), batch_size=8, **options)
        except SpecError:
            continue


def draw_split(source, unit_count):
    count = source.randint(1, unit_count)
    ends = [0, *sorted(source.sample(range(1, unit_count), count - 1)), unit_count]
    return Split(tuple(stop - start for start, stop in pairwise(ends)))


def rounded_peak(case):
    """Peak of the steady step, every request rounded to a block."""
    _, simulation = simulate_case(case)
    events = simulation.stream.step_events(2)
    return (
        fold(simulation.stream.events[: events.start])[0]
        + fold(simulation.stream.events[events.start : events.stop])[1]
    )


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_random_combination_is_predicted_to_the_byte(seed):
    source = random.Random(seed)
    case = draw_case(source)
    balancer = find_balancer(case)
    if balancer is None:
        # Only what docs/splits.md names has no profile, and it has an answer all the same.
        named = ("repeat", "M1", "checkpoint", "+backlink", "dib")
        assert any(word in case.method for word in named), case
        small = make_case(method=case.method, network="cifar_resnet8", batch_size=8, module_count=2)
        found = search_by_simulation(small, most=2)
        assert found.lower_bound_bytes is None or found.lower_bound_bytes <= found.peak_bytes
        return
    unit_count = len(get_network(case.network).unit_names)
    splits = [draw_split(source, unit_count) for _ in range(2)] if balancer.most > 1 else [Split((unit_count,))]
    for split in splits:
        predicted = balancer.evaluate(split)
        assert predicted.predicted_peak_bytes == rounded_peak(balancer.place(split)), (case, str(split))
        best = balancer.least_peak(split.module_count)
        assert best.lower_bound_bytes <= best.predicted_peak_bytes <= predicted.predicted_peak_bytes
