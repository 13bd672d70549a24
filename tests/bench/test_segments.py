"""Placed checkpointed segments against the simulator: brute force, rules, budgets, and the policy."""

from dataclasses import replace
from itertools import pairwise, product

import pytest

from bench.balance import place_boundaries
from bench.balancer import Balancer
from bench.cases import make_case
from bench.segments import Placer, with_segments
from bench.simulator.simulate import simulate_case
from methods.registry import read_spec
from partition import Split, SplitError
from partition.runs import make_runs, write_runs
from partition.solve import BudgetError
from tests.partition.profiles import all_splits


def case_of(method, network="cifar_resnet8", modules=1, **options):
    return make_case(method=method, network=network, batch_size=64, module_count=modules, **options)


def peak_of(case):
    return simulate_case(case)[0].peak_allocated_bytes


def every_way(unit_count):
    """Runs of a chain, checkpointed or kept; kept ones do not meet."""
    for count in range(1, unit_count + 1):
        for split in all_splits(unit_count, count):
            for kept in product((False, True), repeat=count):
                if (True, True) not in pairwise(kept):
                    yield make_runs(split.sizes, kept)


def test_segments_of_a_network_are_the_best_of_all_that_can_be_simulated():
    case = case_of("checkpoint")
    found = {}
    for runs in every_way(4):
        readings, _ = simulate_case(replace(case, method=with_segments(case.method, write_runs(runs))))
        found[runs] = readings.peak_allocated_bytes, readings.training_flops
    placer = Placer(case)
    for count in range(1, 5):
        least = min(peak for runs, (peak, _) in found.items() if len(runs) == count)
        placed = placer.verify(placer.least_peak(count))
        assert placed.peak_bytes == found[placed.runs][0] == least
        assert placed.predicted_peak_bytes == placed.lower_bound_bytes <= least
    assert placer.verify(placer.least_peak()).peak_bytes == min(peak for peak, _ in found.values())
    for budget in sorted({peak for peak, _ in found.values()}):
        placed = placer.verify(placer.within_budget(budget))
        assert placed.peak_bytes <= budget
        assert placed.readings.training_flops == min(flops for peak, flops in found.values() if peak <= budget)


def test_segments_inside_modules_are_the_best_that_can_be_simulated():
    case = case_of("dgl+checkpoint[balanced]", modules=2)
    peaks = {}
    for split in all_splits(4, 2):
        for inside in product(*([p.sizes for n in range(1, s + 1) for p in all_splits(s, n)] for s in split.sizes)):
            runs = make_runs([size for sizes in inside for size in sizes])
            method = with_segments(case.method, write_runs(runs))
            peaks[split, runs] = peak_of(replace(case, method=method, split_policy=str(split)))
    placed = place_boundaries(replace(case, split_policy="balanced"))
    assert peak_of(placed) == min(peaks.values())
    for split in all_splits(4, 2):
        given = place_boundaries(replace(case, split_policy=str(split)))
        assert given.split_policy == str(split)
        assert peak_of(given) == min(peak for (one, _), peak in peaks.items() if one == split)


@pytest.fixture(scope="module")
def placer():
    return Placer(make_case(method="checkpoint", network="resnet32"))


def test_placed_segments_need_less_than_the_rules(placer):
    placed = placer.verify(placer.least_peak())
    assert placed.optimal
    assert placed.peak_bytes == placed.predicted_peak_bytes
    rules = placer.rules()
    assert all(peak > 1.4 * placed.peak_bytes for _, peak in rules.values())
    equal, predicted = rules["equal, 5 as published"]
    assert len(equal) == 5
    assert predicted == peak_of(make_case(method="checkpoint", network="resnet32"))


def test_the_policy_is_resolved_where_a_case_is_built():
    case = case_of("checkpoint[balanced]")
    placed = place_boundaries(case)
    assert "balanced" not in placed.method
    assert str(read_spec(placed.method)) == placed.method
    assert peak_of(case) == peak_of(placed) < peak_of(case_of("checkpoint"))
    assert place_boundaries(placed) is placed


def test_given_runs_are_part_of_the_pieces_of_local_modules():
    case = case_of("dgl+checkpoint[1.k2.1]", modules=2)
    balancer = Balancer(case)
    for split in (Split((1, 3)), Split((2, 2))):
        predicted = balancer.evaluate(split)
        assert predicted.predicted_peak_bytes == peak_of(replace(case, split_policy=str(split)))
    assert balancer.verify(balancer.least_peak(2)).optimal


def test_what_cannot_be_is_said(placer):
    with pytest.raises(SplitError, match=r"too few units for the modules \(units: 16, modules: 17\)"):
        placer.least_peak(17)
    with pytest.raises(BudgetError, match=r"segments of resnet32 fits into 0\.0 MiB \(1 bytes\); the least peak is"):
        placer.within_budget(1)


def test_segments_that_do_not_fit_the_network_are_refused():
    with pytest.raises(SplitError, match=r"segments 3\.4 sum to 7, but the chain has 4 units"):
        case_of("checkpoint[3.4]")
    with pytest.raises(SplitError, match="has no checkpointed segments"):
        with_segments("dgl", "balanced")
