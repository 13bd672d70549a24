from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition.memory import step_memory
from partition.runs import make_runs
from partition.segments import checkpoint_segments
from partition.solve import BudgetError, Solver
from partition.split import Split
from tests.partition.profiles import all_splits, random_profile

SLOW = settings(deadline=None, max_examples=60)
"""Shared machines are slow at times; brute force grows with the number of splits."""
CHAINS = st.tuples(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0, 1, 9, 10**30]))


def chain_of(seed, unit_count, largest=9, *, kept):
    profile = random_profile(seed, unit_count, largest, segments=1, extra_losses=True)
    others = random_profile(seed + 1, unit_count, largest, segments=1).units
    return replace(profile, head=replace(profile.head, persistent_bytes=0, flops=0), kept=others if kept else ())


def every_way(profile):
    """Runs with their peak and recomputed FLOPs, stretch by stretch in the order of the step; kept runs do not meet."""
    whole = Split((len(profile.units),))
    for count in range(1, whole.unit_count + 1):
        for split in all_splits(whole.unit_count, count):
            for kept in product((False, True) if profile.kept else (False,), repeat=count):
                if (True, True) not in pairwise(kept):
                    runs = make_runs(split.sizes, kept)
                    step = step_memory(replace(profile, segments=runs), whole)
                    yield runs, step.peak_bytes, step.added_flops


def solve(profile):
    """A solver, and what finds the runs of a solution."""
    pieces, runs = checkpoint_segments(profile)
    return Solver(pieces), lambda solution: tuple(runs[arc] for arc in solution.path)


@SLOW
@given(CHAINS, st.booleans())
def test_segments_of_least_peak_equal_brute_force(chain, kept):
    profile = chain_of(*chain, kept=kept)
    ways = {runs: (peak, flops) for runs, peak, flops in every_way(profile)}
    least = {}
    for runs, (peak, _) in ways.items():
        least[len(runs)] = min(peak, least.get(len(runs), peak))
    solver, runs_of = solve(profile)
    solutions = solver.least_peaks()
    assert {s.split.module_count: s.predicted_peak_bytes for s in solutions} == least
    for solution in solutions:
        assert ways[runs_of(solution)] == (solution.predicted_peak_bytes, solution.added_flops)


@SLOW
@given(CHAINS, st.booleans(), st.data())
def test_least_recomputation_under_a_budget_equals_brute_force(chain, kept, data):
    ways = {runs: (peak, flops) for runs, peak, flops in every_way(chain_of(*chain, kept=kept))}
    solver, runs_of = solve(chain_of(*chain, kept=kept))
    budget = data.draw(st.sampled_from(sorted({peak for peak, _ in ways.values()})))
    solution = solver.least_overhead(budget)
    assert solution.added_flops == min(flops for peak, flops in ways.values() if peak <= budget)
    assert ways[runs_of(solution)] == (solution.predicted_peak_bytes, solution.added_flops)
    assert solution.predicted_peak_bytes <= budget
    least = min(peak for peak, _ in ways.values())
    with pytest.raises(BudgetError) as error:
        solver.least_overhead(least - 1)
    assert error.value.nearest_bytes == least
