"""Predicted from pieces against simulated whole: the same bytes, where a step is the sum of its pieces."""

import random
from itertools import pairwise

import pytest
import torch
from torch import nn

from bench.cases import make_case
from bench.cost_profile import ProfileError, Profiler, bounding_method
from bench.short_chain import shorten
from bench.simulator import trace_split
from bench.simulator.model import read_model
from bench.simulator.pieces import fold
from bench.simulator.simulate import simulate_case
from bench.simulator.trace_split import META
from bench.training import build_network
from bench.workloads import resnet_cifar
from methods.engine import is_even
from partition import Split
from partition.local_modules import local_modules
from partition.memory import step_memory
from partition.solve import Solver
from tests.partition.profiles import all_splits

METHODS = [
    "greedy",
    "dgl",
    "infopro[softmax]",
    "infopro[contrast,weights=5/0/0/1]",
    "infopro[softmax,step=per_module]",
    "contsup[R0]",
    "contsup[E]",
    "contsup[R1]",
    "contsup[R1E]",
    "contsup[R2]+decoder",
    "dgl+checkpoint[2]",
    "contsup[R1E]+checkpoint[2]",
    "lam",
    "mlaan[copies=single,ema_at=before]",
    "mlm[c=3,alone=later]",
    "backlink[l=1,unit=block]",
    "infopro[softmax]+backlink[l=4]",
    "contsup[E]+backlink[l=2]",
]


def predict(profiler, split):
    return step_memory(profiler.profile(split.module_count, even=is_even(split)), split).peak_bytes


def simulate(method, network, batch_size, split, model=None, **options):
    """Readings, and the step's peak with every request rounded to a block."""
    case = make_case(
        method=method,
        network=network,
        batch_size=batch_size,
        module_count=split.module_count,
        split=str(split),
        **options,
    )
    readings, simulation = simulate_case(case, model)
    events = simulation.stream.step_events(2)
    alive, _ = fold(simulation.stream.events[: events.start])
    return readings, alive + fold(simulation.stream.events[events.start : events.stop])[1]


def random_split(source, unit_count):
    module_count = source.randint(1, unit_count)
    ends = [0, *sorted(source.sample(range(1, unit_count), module_count - 1)), unit_count]
    return Split(tuple(stop - start for start, stop in pairwise(ends)))


@pytest.mark.parametrize("method", METHODS)
def test_splits_of_a_small_network_are_predicted_to_the_byte(method):
    profiler = Profiler(make_case(method=method, network="cifar_resnet8", batch_size=24))
    for sizes in ((4,), (1, 3), (2, 1, 1), (1, 1, 1, 1)):
        _, rounded = simulate(method, "cifar_resnet8", 24, Split(sizes))
        assert predict(profiler, Split(sizes)) == rounded, sizes


@pytest.mark.parametrize("method", ["backlink[l=2]", "mlaan"])
def test_where_losses_reach_further_the_solver_finds_the_least_of_all_simulated_peaks(method):
    profile = Profiler(make_case(method=method, network="cifar_resnet14", batch_size=24)).profile(3)
    simulated = min(simulate(method, "cifar_resnet14", 24, split)[1] for split in all_splits(7, 3))
    solution = Solver(local_modules(profile)).least_peak(3)
    assert solution.optimal
    assert solution.predicted_peak_bytes == solution.lower_bound_bytes == simulated


def test_context_of_middle_sources_never_holds_less_than_context_without():
    assert bounding_method("dgl") is bounding_method("contsup[M1R1E]+backlink[l=4]") is None
    method = bounding_method("contsup[M2R1E,head=0c1f]")
    assert method == "contsup[R1E,head=0c1f]"
    profiler = Profiler(make_case(method=method, network="cifar_resnet14", batch_size=16))
    for sizes in ((1, 1, 1, 1, 1, 2), (2, 1, 1, 1, 2), (3, 4)):
        _, rounded = simulate("contsup[M2R1E,head=0c1f]", "cifar_resnet14", 16, Split(sizes))
        assert predict(profiler, Split(sizes)) <= rounded


def test_copies_that_only_some_numbers_of_modules_have_are_told_apart():
    # Of the released ResNet-110, only that of 32 modules copies one unit behind 3.15.
    profiler = Profiler(make_case(method="lam", network="resnet110", batch_size=4))
    usual, released = profiler.profile(31), profiler.profile(32)
    different = [
        unit
        for unit, (one, other) in enumerate(zip(usual.auxiliaries[0], released.auxiliaries[0], strict=True))
        if one != other
    ]
    assert [profiler.chain.unit_names[unit] for unit in different] == ["layer3.15"]


@pytest.mark.parametrize("method", ["contsup[R1E]", "dgl+checkpoint[3]", "mlaan", "backlink[l=4]"])
def test_random_splits_of_a_network_with_repetitions_are_predicted_to_the_byte(method):
    source = random.Random(0)
    profiler = Profiler(make_case(method=method, network="cifar_resnet38", batch_size=16))
    for _ in range(2):
        split = random_split(source, 19)
        _, rounded = simulate(method, "cifar_resnet38", 16, split)
        assert predict(profiler, split) == rounded, str(split)


@pytest.mark.parametrize("method", ["infopro[softmax]", "contsup[R1E]"])
def test_allocated_bytes_of_resnet110_at_the_papers_batch_are_predicted_to_the_byte(method):
    profiler = Profiler(make_case(method=method, network="resnet110"))
    for sizes in ((5, 20, 30), (14, 14, 14, 13)):
        readings, _ = simulate(method, "resnet110", 1024, Split(sizes))
        assert predict(profiler, Split(sizes)) == readings.peak_allocated_bytes


def test_convolution_workspaces_are_part_of_the_pieces():
    model = read_model(workspace="bound")
    profiler = Profiler(make_case(method="dgl", network="cifar_resnet8", batch_size=24), model)
    for sizes in ((4,), (1, 3), (2, 1, 1)):
        _, rounded = simulate("dgl", "cifar_resnet8", 24, Split(sizes), model)
        assert predict(profiler, Split(sizes)) == rounded


@pytest.mark.parametrize("method", ["e2e", "checkpoint[3]"])
def test_a_method_without_local_loss_has_one_module(method):
    profiler = Profiler(make_case(method=method, network="cifar_resnet14", batch_size=16))
    _, rounded = simulate(method, "cifar_resnet14", 16, Split((7,)))
    assert predict(profiler, Split((7,))) == rounded


def test_added_flops_are_those_of_the_simulated_step():
    profiler = Profiler(make_case(method="contsup[R1E]", network="cifar_resnet14", batch_size=16))
    split = Split((2, 2, 3))
    readings, _ = simulate("contsup[R1E]", "cifar_resnet14", 16, split)
    profile = profiler.profile(3)
    added = step_memory(profile, split).added_flops
    assert added / profile.backbone_flops == pytest.approx(readings.theoretical_overhead)


def test_losses_of_the_network_s_own_are_part_of_the_pieces():
    profiler = Profiler(make_case(method="infopro[softmax]", network="deeplabv3_resnet101", batch_size=2))
    for sizes in ((5, 25, 4), (31, 3)):
        _, rounded = simulate("infopro[softmax]", "deeplabv3_resnet101", 2, Split(sizes))
        assert predict(profiler, Split(sizes)) == rounded


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("asy_infopro", "one module per step, in rounds"),
        ("greedy_plus", "by the number of modules"),
        ("mlm[forwards=repeat]", "runs windows again"),
        ("backlink[l=4]+checkpoint[2]", "recomputes segments once for every loss"),
        ("contsup[R1E]+backlink[l=4]", "keeps context"),
        ("contsup[M1R1E]", "reads context of modules further away"),
    ],
)
def test_a_method_whose_step_is_no_sum_over_a_split_is_refused(method, message):
    with pytest.raises(ProfileError, match=message):
        Profiler(make_case(method=method, network="resnet32", module_count=4, batch_size=16))


def test_a_unit_that_remembers_how_often_it_ran_is_found_out(monkeypatch):
    # A step that is not the sum of its pieces: the same unit does something else every second time.
    class Moody(resnet_cifar.BasicBlock):
        runs = 0

        def forward(self, features):
            Moody.runs += 1
            output = super().forward(features)
            return output + torch.zeros_like(output) if Moody.runs % 5 == 0 else output

    monkeypatch.setattr(resnet_cifar, "BasicBlock", Moody)
    with pytest.raises(ProfileError, match="not the sum of its pieces"):
        Profiler(make_case(method="dgl", network="cifar_resnet14", batch_size=16))


def test_a_short_chain_keeps_what_differs_and_drops_what_repeats():
    chain = build_network(make_case(method="e2e", network="resnet110"), META).chain
    short, like = shorten(chain, 3)
    assert short.unit_names == (
        "stem", "layer1.0", "layer1.1", "layer1.17", "layer2.0", "layer2.1", "layer2.2", "layer2.17",
        "layer3.0", "layer3.1", "layer3.2", "layer3.17",
    )  # fmt: skip
    assert [like[unit] for unit in (0, 1, 2, 17, 18, 19, 20, 21, 35, 36, 54)] == [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 11]
    chain.units[5].register_buffer("extra", torch.zeros(3))
    assert "layer1.4" in shorten(chain, 3)[0].unit_names
    chain.units[9].relu = nn.LeakyReLU()
    assert "layer1.8" in shorten(chain, 3)[0].unit_names


@pytest.mark.parametrize(
    ("method", "options", "skips"),
    [
        ("contsup[R1E]", {"optimizer": "adamw"}, True),
        ("mlaan", {}, True),
        ("infopro[softmax,step=per_module]", {}, False),
        ("dgl", {"precision": "float16"}, False),
    ],
    ids=str,
)
def test_a_trace_that_skips_the_first_step_is_that_of_the_second(method, options, skips, monkeypatch):
    profiler = Profiler(make_case(method=method, network="cifar_resnet8", batch_size=24, **options))
    steps = []
    step = trace_split._Run.step
    monkeypatch.setattr(trace_split._Run, "step", lambda run: (steps.append(run), step(run)))
    first, later = (
        trace_split.trace_split(
            profiler.case,
            profiler.short,
            Split((1, 3)),
            profiler.parts,
            profiler.model,
            shared,
            profiler._short_overlap,
        )
        for shared in (None, profiler._shared)
    )
    assert len(steps) == (3 if skips else 4)
    assert all(
        getattr(first, name) == getattr(later, name)
        for name in ("pieces", "updates", "kept_bytes", "alive_bytes", "peak_bytes", "flops", "steps")
    )


def test_a_step_that_keeps_another_workspace_than_the_first_trace_is_traced_from_its_first():
    profiler = Profiler(make_case(method="dgl", network="cifar_resnet8", batch_size=24))
    arguments = profiler.case, profiler.short, Split((2, 2)), profiler.parts, profiler.model
    other = trace_split.Shared(workspaces=frozenset([(False, 512)]))
    assert trace_split.trace_split(*arguments, other).alive_bytes == trace_split.trace_split(*arguments).alive_bytes
    assert other.workspaces == profiler._shared.workspaces


@pytest.mark.parametrize(
    "options",
    [{"precision": "float16"}, {"precision": "bfloat16", "optimizer": "adamw"}, {"memory_format": "channels_last"}],
    ids=str,
)
def test_numeric_options_are_part_of_the_pieces(options):
    profiler = Profiler(make_case(method="dgl", network="cifar_resnet8", batch_size=24, **options))
    for sizes in ((4,), (1, 3), (2, 1, 1)):
        _, rounded = simulate("dgl", "cifar_resnet8", 24, Split(sizes), **options)
        assert predict(profiler, Split(sizes)) == rounded
