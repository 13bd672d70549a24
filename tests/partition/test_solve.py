from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition import Split, SplitError
from partition.local_modules import local_modules
from partition.memory import step_memory
from partition.overlap import Overlap
from partition.pieces import of_sizes, with_one_of
from partition.solve import BudgetError, Solver
from tests.partition.profiles import all_splits, random_profile, residual_profile

SLOW = settings(deadline=None, max_examples=60)
"""Shared machines are slow at times; brute force grows with the number of splits."""
LARGEST = [0, 1, 9, 10**6, 10**30]
PROFILES = st.builds(
    random_profile,
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.sampled_from(LARGEST),
    kinds=st.sampled_from([1, 3]),
    depth=st.sampled_from([0, 1, 2]),
    segments=st.sampled_from([None, 2, 5]),
    update_per_module=st.booleans(),
    extra_losses=st.booleans(),
) | st.builds(
    random_profile,
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.sampled_from(LARGEST),
    kinds=st.sampled_from([1, 3]),
    overlap=st.sampled_from(
        [
            Overlap(window=2),
            Overlap(window=2, own=False),
            Overlap(window=3, alone=False),
            Overlap(links=(1, 1, 1, 2, 2, 2, 2)),
            Overlap(links=(1, 2, 2, 2, 3, 1, 1)),
        ]
    ),
)


def brute_force(profile, module_count):
    """Least peak, then least added FLOPs, then least sum of squared sizes, over every split."""
    return min(rank(profile, split) for split in all_splits(len(profile.units), module_count))


def rank(profile, split):
    memory = step_memory(profile, split)
    return memory.peak_bytes, memory.added_flops, sum(size**2 for size in split.sizes)


def rank_of(solution):
    return solution.predicted_peak_bytes, solution.added_flops, sum(size**2 for size in solution.split.sizes)


@SLOW
@given(PROFILES)
def test_the_graph_of_modules_agrees_with_plain_arithmetic(profile):
    solver = Solver(local_modules(profile))
    for module_count in range(1, len(profile.units) + 1):
        for split in all_splits(len(profile.units), module_count):
            memory, solution = step_memory(profile, split), solver.evaluate(split)
            assert solution.predicted_peak_bytes == memory.peak_bytes
            assert solution.module_bytes == memory.module_bytes
            assert solution.added_flops == memory.added_flops
            assert solution.lower_bound_bytes <= memory.peak_bytes


@SLOW
@given(PROFILES)
def test_least_peaks_equal_brute_force_with_all_their_ties(profile):
    solutions = Solver(local_modules(profile)).least_peaks()
    assert [solution.split.module_count for solution in solutions] == list(range(1, len(profile.units) + 1))
    for module_count, solution in enumerate(solutions, start=1):
        assert rank_of(solution) == rank(profile, solution.split) == brute_force(profile, module_count)
        assert solution.optimal
        assert (
            solution.lower_bound_bytes
            == solution.predicted_peak_bytes
            == max(*solution.module_bytes, step_memory(profile, solution.split).optimizer_bytes)
        )


@SLOW
@given(PROFILES, st.data())
def test_candidates_are_all_splits_in_the_order_of_their_peaks(profile, data):
    count = data.draw(st.integers(1, len(profile.units)))
    found = list(Solver(local_modules(profile)).candidates(count))
    peaks = [step_memory(profile, solution.split).peak_bytes for solution in found]
    assert peaks == sorted(peaks) == [solution.predicted_peak_bytes for solution in found]
    assert {solution.split for solution in found} == set(all_splits(len(profile.units), count))


@SLOW
@given(PROFILES, st.data())
def test_budgets_equal_brute_force_or_say_what_would_be_enough(profile, data):
    ranks = {
        split: rank(profile, split)
        for module_count in range(1, len(profile.units) + 1)
        for split in all_splits(len(profile.units), module_count)
    }
    budget = data.draw(st.sampled_from(sorted({peak + d for peak, *_ in ranks.values() for d in (-1, 0)})))
    fitting = {split: rank for split, rank in ranks.items() if rank[0] <= budget}
    solver = Solver(local_modules(profile))
    if not fitting:
        for ask in (solver.fewest_modules, solver.least_overhead):
            with pytest.raises(BudgetError, match="no split fits") as error:
                ask(budget)
            assert error.value.nearest_bytes == min(peak for peak, *_ in ranks.values())
        return
    fewest, cheapest = solver.fewest_modules(budget), solver.least_overhead(budget)
    least_count = min(split.module_count for split in fitting)
    assert fewest.split.module_count == least_count
    assert rank_of(fewest)[1:] == min(r[1:] for split, r in fitting.items() if split.module_count == least_count)
    assert rank_of(cheapest)[1:] == min(r[1:] for r in fitting.values())
    assert max(fewest.predicted_peak_bytes, cheapest.predicted_peak_bytes) <= budget


@SLOW
@given(PROFILES, st.integers(2, 1000))
def test_scaling_every_number_scales_the_peak_and_keeps_the_split(profile, factor):
    for before, after in zip(
        Solver(local_modules(profile)).least_peaks(),
        Solver(local_modules(scale(profile, factor))).least_peaks(),
        strict=True,
    ):
        assert after.split == before.split or rank_of(after)[1:] == (before.added_flops * factor, rank_of(before)[2])
        assert after.predicted_peak_bytes == before.predicted_peak_bytes * factor


def scale(part, factor):
    """Every number of a profile, times a factor."""
    if isinstance(part, tuple):
        return tuple(scale(item, factor) for item in part)
    if isinstance(part, dict):
        return {key: scale(value, factor) for key, value in part.items()}
    if isinstance(part, bool):
        return part
    if isinstance(part, int):
        return part * factor
    if part is None:
        return None
    kept = {"kinds", "shapes", "context_depth", "segments", "backbone_flops", "update_per_module", "overlap", "between"}
    if hasattr(part, "dropped"):  # numbers of tensors, and the bytes of scalars
        part = replace(part, dropped={key: (*counts, factor * last) for key, (*counts, last) in part.dropped.items()})
        kept |= {"dropped"}
    return replace(part, **{n: scale(getattr(part, n), factor) for n in part.__slots__ if n not in kept})


@SLOW
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(0, 10**6))
def test_more_base_memory_moves_every_peak_and_no_boundary(seed, unit_count, more):
    profile = random_profile(seed, unit_count)
    heavier = replace(profile, base_bytes=profile.base_bytes + more)
    for before, after in zip(
        Solver(local_modules(profile)).least_peaks(), Solver(local_modules(heavier)).least_peaks(), strict=True
    ):
        assert after.predicted_peak_bytes == before.predicted_peak_bytes + more
        assert after.split == before.split


def test_alike_units_may_change_places():
    profile = residual_profile(12)
    swapped = replace(profile, units=(profile.units[1], profile.units[2], profile.units[1], *profile.units[3:]))
    assert swapped.units[1] == profile.units[1]
    expected = [rank_of(solution) for solution in Solver(local_modules(profile)).least_peaks()]
    moved = replace(profile, units=(profile.units[0], *reversed(profile.units[1:4]), *profile.units[4:]))
    assert [rank_of(solution) for solution in Solver(local_modules(moved)).least_peaks()] == expected


def test_a_long_chain_that_is_narrowed_first_gives_the_same_as_one_that_is_not(monkeypatch):
    pieces = local_modules(residual_profile(60, noise=20))
    expected = [rank_of(Solver(pieces).least_peak(count)) for count in (1, 2, 7, 20, 59, 60)]
    monkeypatch.setattr("partition.solve.NARROW_ABOVE", 0)
    assert [rank_of(Solver(pieces).least_peak(count)) for count in (1, 2, 7, 20, 59, 60)] == expected


def test_the_least_peak_is_not_monotone_in_the_number_of_modules():
    peaks = [solution.predicted_peak_bytes for solution in Solver(local_modules(residual_profile(30))).least_peaks()]
    assert sorted(peaks, reverse=True) != peaks


@pytest.mark.parametrize(("count", "nearest"), [(0, 1), (-1, 1), (8, 7)])
def test_a_number_of_modules_that_cannot_be_names_the_nearest(count, nearest):
    solver = Solver(local_modules(random_profile(0, 7)))
    with pytest.raises(
        SplitError, match=rf"no split into {count} modules \(units: 7\); the nearest number is {nearest}"
    ):
        solver.least_peak(count)


@SLOW
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 3))
def test_a_graph_that_must_use_a_size_gives_the_best_split_that_does(seed, unit_count, size):
    profile = random_profile(seed, unit_count)
    pieces = local_modules(profile)
    solver = Solver(with_one_of(pieces, of_sizes(pieces, [size])))
    for module_count in range(1, unit_count + 1):
        ranks = [rank(profile, split) for split in all_splits(unit_count, module_count) if size in split.sizes]
        if ranks:
            assert rank_of(solver.least_peak(module_count)) == min(ranks)
        else:
            assert solver.bounds.least(module_count) is None


def test_a_split_of_another_chain_is_refused():
    with pytest.raises(SplitError, match=r"split 3,3 is none of this chain \(7 units\)"):
        Solver(local_modules(random_profile(0, 7))).evaluate(Split((3, 3)))


def test_without_local_loss_there_is_one_module():
    profile = replace(random_profile(0, 7), auxiliaries=())
    assert [solution.split for solution in Solver(local_modules(profile)).least_peaks()] == [Split((7,))]
