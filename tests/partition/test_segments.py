from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition.profile import Place, join
from partition.segments import CHECKPOINTED, KEPT, checkpoint_segments
from partition.solve import BudgetError, Solver
from tests.partition.profiles import all_splits, random_profile

SLOW = settings(deadline=None, max_examples=60)
"""Shared machines are slow at times; brute force grows with the number of splits."""
CHAINS = st.tuples(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0, 1, 9, 10**30]))


def play(profile, kept, split, kinds):
    """Peak and recomputed FLOPs of a checkpointed step, stretch by stretch in the order in which they happen."""
    forwards, backwards, recomputed = [], [], 0
    last_unit = len(profile.units) - 1
    for units, kind in zip(split.modules(), kinds, strict=True):
        costs = kept if kind == KEPT else profile.units

        def side(unit, units=units):
            first, last = unit == units[0], unit == units[-1]
            return (
                Place.MODULE if unit == 0 else Place.SEGMENT if first else Place.INSIDE,
                Place.MODULE if unit == last_unit else Place.SEGMENT if last else Place.INSIDE,
            )

        forwards += [costs[unit].forward[side(unit)] for unit in units]
        backward = [costs[unit].backward[side(unit)] for unit in reversed(units)]
        if kind == CHECKPOINTED:
            again = [costs[unit].recompute[side(unit)] for unit in units]
            backward = [costs[units[-1]].resume[side(units[-1])], *again, *backward]
            recomputed += sum(profile.units[unit].flops for unit in units)
        backwards = [*backward, *backwards]
    head = profile.head
    _, peak = join([*forwards, head.forward, head.backward, *backwards, head.closing])
    held = sum(part.gradient_bytes + part.update_bytes for part in (*profile.units, head)) + head.kept_bytes
    return profile.base_bytes + max(peak, held), recomputed


def every_way(profile, kept):
    """Split, kinds, peak and recomputed FLOPs of every way to checkpoint; kept runs do not meet."""
    for count in range(1, len(profile.units) + 1):
        for split in all_splits(len(profile.units), count):
            for kinds in product((CHECKPOINTED, KEPT) if kept else (CHECKPOINTED,), repeat=count):
                if (KEPT, KEPT) not in pairwise(kinds):
                    yield split, kinds, *play(profile, kept, split, kinds)


@SLOW
@given(CHAINS)
def test_segments_of_least_peak_equal_brute_force(chain):
    profile = random_profile(*chain, segments=1)
    least = {}
    for split, _, peak, _ in every_way(profile, ()):
        least[split.module_count] = min(peak, least.get(split.module_count, peak))
    solutions = Solver(checkpoint_segments(profile)).least_peaks()
    assert {s.split.module_count: s.predicted_peak_bytes for s in solutions} == least
    for solution in solutions:
        kinds = [CHECKPOINTED] * solution.split.module_count
        assert (
            play(profile, (), solution.split, kinds)[0] == solution.predicted_peak_bytes == solution.lower_bound_bytes
        )


@SLOW
@given(CHAINS, st.data())
def test_least_recomputation_under_a_budget_equals_brute_force(chain, data):
    seed, unit_count, largest = chain
    profile = random_profile(seed, unit_count, largest, segments=1)
    kept = random_profile(seed + 1, unit_count, largest, segments=1).units
    ways = [(peak, flops) for *_, peak, flops in every_way(profile, kept)]
    solver = Solver(checkpoint_segments(profile, kept))
    budget = data.draw(st.sampled_from(sorted({peak for peak, _ in ways})))
    solution = solver.least_overhead(budget)
    assert solution.added_flops == min(flops for peak, flops in ways if peak <= budget)
    assert solution.predicted_peak_bytes <= budget
    least = min(peak for peak, _ in ways)
    with pytest.raises(BudgetError) as error:
        solver.least_overhead(least - 1)
    assert error.value.nearest_bytes == least


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_more_ways_to_checkpoint_never_raise_the_peak(seed, unit_count):
    profile = random_profile(seed, unit_count, segments=1)
    kept = random_profile(seed + 1, unit_count, segments=1).units
    fewer, more = (
        min(s.predicted_peak_bytes for s in Solver(pieces).least_peaks())
        for pieces in (checkpoint_segments(profile), checkpoint_segments(profile, kept))
    )
    assert more <= fewer
