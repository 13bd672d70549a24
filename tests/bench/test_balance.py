"""The split solver on real methods: against the simulator, brute force and hand-placed boundaries."""

import json
from dataclasses import replace
from functools import partial
from itertools import product

import pytest

from bench.balance import balance, place_boundaries
from bench.balancer import Balancer
from bench.cases import make_case
from bench.cost_profile import Profiler
from bench.simulated_search import neighbours
from bench.simulator.simulate import simulate_case
from docs.hand_placed import BOUNDARIES, read_recorded
from methods.engine import is_even
from partition import Split
from partition.memory import step_memory
from partition.solve import BudgetError
from tests.partition.profiles import all_splits


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


def test_boundaries_placed_by_hand_are_never_better_under_torch_s_own_allocator():
    rows = read_recorded()
    assert len(rows) == len(BOUNDARIES)
    for row in rows:
        theirs, ours = int(row["their_bytes"]), int(row["our_bytes"])
        assert ours <= theirs, row
        assert (row["theirs"] == row["ours"]) == (ours == theirs), row


def test_recorded_splits_are_those_that_the_solver_gives():
    rows = [row for row in read_recorded() if (row["method"], row["network"]) == ("infopro[contrast]", "resnet110")]
    balancer = Balancer(make_case(method="infopro[contrast]", network="resnet110"))
    for row in rows:
        best = balancer.least_peak(len(row["ours"].split(",")))
        assert str(best.split) == row["ours"]
        assert best.predicted_peak_bytes == int(row["our_bytes"])
        theirs = Split(tuple(map(int, row["theirs"].split(","))))
        assert balancer.evaluate(theirs).predicted_peak_bytes == int(row["their_bytes"])


def test_of_equally_good_splits_the_cheapest_and_then_the_most_even_is_taken():
    case = make_case(method="dgl", network="cifar_resnet14", batch_size=64)
    balancer = Balancer(case)
    count = 4
    best = balancer.least_peak(count)
    ranks = {}
    for split in all_splits(7, count):
        if balancer.evaluate(split).predicted_peak_bytes == best.predicted_peak_bytes:
            readings, _ = simulate_case(replace(case, module_count=count, split_policy=str(split)))
            ranks[split] = readings.theoretical_overhead, sum(size**2 for size in split.sizes)
    assert len(ranks) > 1, "only one split is as good: nothing is decided here"
    assert ranks[best.split] == min(ranks.values())


def test_where_the_allocator_takes_more_the_splits_that_may_be_better_are_simulated(monkeypatch):
    balancer = Balancer(make_case(method="dgl", network="cifar_resnet14", batch_size=64))
    predicted = sorted(balancer.evaluate(split).predicted_peak_bytes for split in all_splits(7, 3))
    least = balancer.least_peak(3)
    rest = predicted[2] + 512 - predicted[0]
    simulate, seen = balancer.simulate, []

    def with_a_rest(solution):
        seen.append(solution.predicted_peak_bytes)
        found = simulate(solution)
        return replace(found, peak_bytes=found.peak_bytes + rest, proof=None)

    monkeypatch.setattr(balancer, "simulate", with_a_rest)
    found = balancer.verify(least)
    assert found.proof == "enumeration"
    assert found.peak_bytes == least.predicted_peak_bytes + rest
    assert seen == sorted(seen)
    assert len(seen) == sum(peak < found.peak_bytes for peak in predicted)


def test_a_budget_is_one_for_what_the_allocator_takes(monkeypatch):
    balancer = Balancer(make_case(method="dgl", network="cifar_resnet14", batch_size=64))
    peaks = [balancer.least_peak(count).predicted_peak_bytes for count in range(1, 8)]
    budget, rest = peaks[1], 2**20
    assert balancer.verify_within(budget, least_overhead=False).split.module_count == 2
    simulate = balancer.simulate
    monkeypatch.setattr(
        balancer,
        "simulate",
        lambda solution: replace(found := simulate(solution), peak_bytes=found.peak_bytes + rest),
    )
    assert balancer.verify_within(budget, least_overhead=False).peak_bytes <= budget
    with pytest.raises(BudgetError):
        balancer.verify_within(min(peaks), least_overhead=True)


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


@pytest.mark.parametrize("count", [3, 4])
def test_middle_sources_are_proven_by_the_bounds_of_context_without(count):
    case = make_case(method="contsup[M1R1E]", network="cifar_resnet14", module_count=count, batch_size=64)
    found = balance(case)
    peaks = [
        simulate_case(replace(case, split_policy=",".join(map(str, sizes))))[0].peak_allocated_bytes
        for sizes in product(range(1, 6), repeat=count)
        if sum(sizes) == 7
    ]
    assert found.lower_bound_bytes <= min(peaks)
    assert found.peak_bytes == min(peaks)
    assert found.optimal


@pytest.fixture
def run(peakbench):
    """`peakbench split` for a small network."""
    return partial(peakbench, "split", "cifar_resnet14", "--method", "dgl", "--batch", "64")


def test_the_command_prints_the_split_as_an_object(run):
    facts = json.loads(run("--modules", "3", "--json").stdout)
    assert sum(facts["split_sizes"]) == 7
    assert len(facts["last_units"]) == 2
    assert len(facts["module_bytes"]) == 3
    assert max(facts["module_bytes"]) <= facts["predicted_peak_allocated_bytes"]
    assert facts["lower_bound_bytes"] <= facts["predicted_peak_allocated_bytes"]
    assert set(facts["heuristics"]) == {"equal units", "equal parameters", "equal FLOPs", "block partition"}


def test_the_command_shows_bars_and_the_curve(run):
    text = run("--method", "contsup[R1E]", "--modules", "3").stdout
    assert "peak allocated" in text
    assert "█" in text
    assert "least" in run().stdout
    assert "K=1" in run("--budget", "1GiB").stdout


def test_the_command_places_segments(run):
    facts = json.loads(run("--method", "checkpoint", "--segments", "3", "--json").stdout)
    assert len(facts["segment_sizes"]) == len(facts["segment_kept"]) == len(facts["segment_bytes"]) == 3
    assert sum(facts["segment_sizes"]) == 7
    assert facts["predicted_peak_allocated_bytes"] == facts["simulated_peak_allocated_bytes"]
    text = run("--method", "checkpoint", "--budget", "200MiB").stdout
    assert "with the least recomputation" in " ".join(text.split())
    assert "'checkpoint[segments=" in text


def test_the_command_draws_modules_and_the_curve(run, tmp_path):
    modules, curve = tmp_path / "modules.svg", tmp_path / "curve.svg"
    assert run("--modules", "3", "--figure", str(modules)).returncode == 0
    text = modules.read_text()
    assert all(f"<!-- module {number}, " in text for number in (1, 2, 3))
    assert "<!-- peak of the step, " in text
    assert run("--figure", str(curve)).returncode == 0
    assert "<!-- dgl, balanced -->" in curve.read_text()
    assert "the ending says the kind" in run("--modules", "2", "--figure", str(tmp_path / "curve.xyz")).stderr


def test_the_command_draws_segments(run, tmp_path):
    figure = tmp_path / "segments.svg"
    facts = json.loads(run("--method", "checkpoint", "--segments", "3", "--figure", str(figure), "--json").stdout)
    assert all(f"<!-- run {number}, " in figure.read_text() for number in (1, 2, 3))
    assert max(facts["segment_bytes"]) == facts["simulated_peak_allocated_bytes"]


def test_the_command_has_every_factor_of_a_case(run):
    plain, narrow, kept = (
        json.loads(run("--modules", "2", "--json", "--workspace", "bound", *more).stdout)
        for more in ((), ("--no-tf32", "--cudnn-benchmark"), ("--allocator", "roundup_power2_divisions:2"))
    )
    assert narrow["predicted_peak_allocated_bytes"] >= plain["predicted_peak_allocated_bytes"]
    assert kept["simulated_peak_allocated_bytes"] > plain["simulated_peak_allocated_bytes"]


def test_what_has_no_profile_has_a_curve_and_budgets_by_simulation(run):
    rows = json.loads(run("--method", "mlm[forwards=repeat]", "--json").stdout)
    assert [row["module_count"] for row in rows] == [1, 2, 3, 4, 6, 7]
    assert not any(row["optimal"] or row["predicted_peak_allocated_bytes"] for row in rows)
    largest, least = (kind(row["simulated_peak_allocated_bytes"] for row in rows) for kind in (max, min))
    assert largest > least
    first = next(row for row in rows if row["simulated_peak_allocated_bytes"] <= least)
    found = json.loads(run("--method", "mlm[forwards=repeat]", "--budget", f"{least}", "--json").stdout)
    assert found["split_sizes"] == first["split_sizes"]


def test_a_bound_that_says_nothing_is_not_measured_against(run):
    shown = " ".join(run("--method", "mlm[forwards=repeat]", "--modules", "2").stdout.split())
    assert "the best of those simulated; the lower bound that is known" in shown
    assert "above the lower bound" not in shown


@pytest.mark.parametrize("method", ["asy_infopro", "greedy_plus"])
def test_rounds_and_deepened_backbones_are_searched_without_a_bound(method):
    case = make_case(method=method, network="cifar_resnet8", module_count=2, batch_size=16)
    found, equal = balance(case), simulate_case(case)[0]
    assert found.peak_bytes <= equal.peak_allocated_bytes
    assert found.lower_bound_bytes is None
    assert not found.optimal
    assert max(sum(parts.values()) for parts in found.modules()) == found.peak_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "checkpoint", "--modules", "3"], "use --segments instead of --modules"),
        (["--segments", "3"], "--segments goes with --method checkpoint"),
        (
            ["--method", "checkpoint", "--budget", "1MiB"],
            "no choice of checkpointed segments of cifar_resnet14 fits into",
        ),
        (["--modules", "few"], "--modules is a whole number or 'all', not 'few'"),
        (["--modules", "8"], "too few units for the modules (units: 7, modules: 8)"),
        (["--modules", "2", "--budget", "1GiB"], "a budget decides the number of modules"),
        (["--least-overhead"], "--least-overhead needs a --budget"),
        (["--budget", "1MiB"], "fits into 1.0 MiB (1,048,576 bytes); the least peak is"),
        (["--method", "mlm[forwards=repeat]", "--budget", "1MiB"], "that was simulated fits into 1.0 MiB"),
    ],
)
def test_a_mistake_is_explained(arguments, message, run):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
