"""The split solver on real methods: against the simulator, brute force and hand-placed boundaries."""

import json
import sys
from dataclasses import replace
from typing import NamedTuple

import pytest

from bench.__main__ import main
from bench.balance import Balancer, balance, neighbours, place_boundaries
from bench.cases import make_case
from bench.cost_profile import Profiler
from bench.simulator.simulate import simulate_case
from bench.splits import find_split
from bench.workloads.networks import get_network
from methods.engine import is_even
from partition import Split
from partition.memory import step_memory
from partition.solve import BudgetError
from tests.partition.profiles import all_splits


class Done(NamedTuple):
    code: int
    output: str
    errors: str


# Boundaries placed by hand for balanced memory, `InfoPro_balanced_memory` of the configuration released with InfoPro.
BY_HAND = {
    "resnet110": {2: "1.14", 3: "1.9,2.2", 4: "1.6,1.14,2.8"},
    "resnet110@96": {2: "1.14", 3: "1.8,2.1", 4: "1.6,1.14,2.8"},
}


def test_a_balanced_split_has_the_least_simulated_peak_of_all():
    case = make_case(method="infopro[softmax]", network="cifar_resnet14", module_count=3, batch_size=64)
    peaks = {
        split: simulate_case(replace(case, split_policy=str(split)))[0].peak_allocated_bytes
        for split in all_splits(7, 3)
    }
    found = balance(case)
    assert found.peak_bytes == peaks[found.split] == min(peaks.values())
    assert found.lower_bound_bytes <= found.peak_bytes


def test_loss_weights_that_depend_on_evenness_do_not_mislead():
    # Published weights leave out other networks where modules are equally long.
    case = make_case(method="infopro[contrast]", network="resnet110", module_count=4, batch_size=256)
    balancer, profiler = Balancer(case), Profiler(case)
    assert profiler.kinds(4, even=True) != profiler.kinds(4, even=False)
    best = balancer.least_peak(4)
    around = [best.split, Split((13, 14, 14, 14)), Split((14, 14, 14, 13)), *neighbours(best.split)]
    for split in around:
        exact = step_memory(profiler.profile(4, even=is_even(split)), split).peak_bytes
        assert balancer.evaluate(split).predicted_peak_bytes == exact >= best.predicted_peak_bytes
    even = min(exact for exact in (balancer.evaluate(split).predicted_peak_bytes for split in around if is_even(split)))
    assert balancer._solvers_for(4)[0].least_peak(4).predicted_peak_bytes <= even


@pytest.mark.parametrize("network", BY_HAND)
def test_boundaries_placed_by_hand_are_never_better(network):
    batch_size = 128 if network.endswith("@96") else 1024
    balancer = Balancer(make_case(method="infopro[contrast]", network=network, batch_size=batch_size))
    for count, last_units in BY_HAND[network].items():
        by_hand = balancer.evaluate(find_split(last_units, get_network(network), count))
        assert balancer.least_peak(count).predicted_peak_bytes <= by_hand.predicted_peak_bytes


def test_budgets_are_met_with_the_fewest_modules_or_the_least_overhead():
    balancer = Balancer(make_case(method="dgl", network="resnet32", batch_size=256))
    peaks = {count: balancer.least_peak(count).predicted_peak_bytes for count in range(1, 17)}
    budget = peaks[4]
    fewest, cheapest = balancer.fewest_modules(budget), balancer.least_overhead(budget)
    assert fewest.split.module_count == min(count for count, peak in peaks.items() if peak <= budget)
    assert cheapest.added_flops <= fewest.added_flops
    with pytest.raises(BudgetError, match="the least peak is") as error:
        balancer.fewest_modules(min(peaks.values()) - 1)
    assert error.value.nearest_bytes == min(peaks.values())


def test_the_policy_is_resolved_where_the_case_is_built():
    case = make_case(method="dgl", network="cifar_resnet14", module_count=3, batch_size=64, split="balanced")
    assert case.split_policy == "balanced"
    readings, _ = simulate_case(case)
    placed = place_boundaries(case)
    assert placed.split_policy == ",".join(map(str, readings.split_sizes))
    assert readings.peak_allocated_bytes == balance(replace(case, split_policy="equal")).peak_bytes
    assert place_boundaries(replace(case, split_policy="2,2,3")).split_policy == "2,2,3"


@pytest.mark.parametrize("method", ["mlm[forwards=repeat]"])
def test_methods_without_a_profile_are_searched_by_simulation(method):
    case = make_case(method=method, network="resnet32", module_count=3, batch_size=64)
    found = balance(case)
    equal, _ = simulate_case(case)
    assert found.peak_bytes <= equal.peak_allocated_bytes
    assert not found.optimal


@pytest.fixture
def run(monkeypatch, capsys):
    """`peakbench split` for a small network."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        network = ["split", "cifar_resnet14", "--method", "dgl", "--batch", "64"]
        monkeypatch.setattr(sys, "argv", ["peakbench", *network, *arguments])
        try:
            main()
        except SystemExit as left:
            return Done(left.code or 0, *capsys.readouterr())
        return Done(0, *capsys.readouterr())

    return call


def test_the_command_prints_the_split_as_an_object(run):
    facts = json.loads(run("--modules", "3", "--json").output)
    assert sum(facts["split_sizes"]) == 7
    assert len(facts["last_units"]) == 2
    assert len(facts["module_bytes"]) == 3
    assert max(facts["module_bytes"]) <= facts["predicted_peak_allocated_bytes"]
    assert facts["lower_bound_bytes"] <= facts["predicted_peak_allocated_bytes"]
    assert set(facts["heuristics"]) == {"equal units", "equal parameters", "equal FLOPs", "block partition"}


def test_the_command_shows_bars_and_the_curve(run):
    text = run("--method", "contsup[R1E]", "--modules", "3").output
    assert "peak allocated" in text
    assert "█" in text
    assert "least" in run().output
    assert "K=1" in run("--budget", "1GiB").output


def test_the_command_places_segments(run):
    facts = json.loads(run("--method", "checkpoint", "--segments", "3", "--json").output)
    assert len(facts["segment_sizes"]) == len(facts["segment_kept"]) == len(facts["segment_bytes"]) == 3
    assert sum(facts["segment_sizes"]) == 7
    assert facts["predicted_peak_allocated_bytes"] == facts["simulated_peak_allocated_bytes"]
    text = run("--method", "checkpoint", "--budget", "200MiB").output
    assert "with the least recomputation" in " ".join(text.split())
    assert "'checkpoint[segments=" in text


def test_the_command_draws_modules_and_the_curve(run, tmp_path):
    modules, curve = tmp_path / "modules.svg", tmp_path / "curve.svg"
    assert run("--modules", "3", "--figure", str(modules)).code == 0
    text = modules.read_text()
    assert all(f"<!-- module {number}, " in text for number in (1, 2, 3))
    assert "<!-- peak of the step, " in text
    assert run("--figure", str(curve)).code == 0
    assert "<!-- dgl, balanced -->" in curve.read_text()
    assert "the ending says the kind" in run("--modules", "2", "--figure", str(tmp_path / "curve.xyz")).errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "checkpoint", "--modules", "3"], "use --segments instead of --modules"),
        (["--segments", "3"], "--segments goes with --method checkpoint"),
        (
            ["--method", "checkpoint", "--budget", "1MiB"],
            "no checkpointed segments of cifar_resnet14 fit into",
        ),
        (["--modules", "few"], "--modules is a whole number or 'all', not 'few'"),
        (["--modules", "8"], "too few units for the modules (units: 7, modules: 8)"),
        (["--modules", "2", "--budget", "1GiB"], "a budget decides the number of modules"),
        (["--least-overhead"], "--least-overhead needs a --budget"),
        (["--method", "checkpoint", "--figure", "a.svg"], "--figure draws local modules"),
        (["--budget", "1MiB"], "fits into 1,048,576 bytes; the least peak is"),
        (["--method", "mlm[forwards=repeat]"], "give the number of modules"),
    ],
)
def test_a_mistake_is_explained(arguments, message, run):
    done = run(*arguments)
    assert done.code == 2
    assert message in done.errors
