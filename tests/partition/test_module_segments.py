"""Segments inside local modules against brute force, and what they need to be solved one by one."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition.local_modules import local_modules
from partition.memory import step_memory
from partition.module_segments import SegmentError, place_segments
from partition.profile import Place
from partition.runs import make_runs
from partition.solve import Solver
from tests.partition.profiles import all_splits, random_profile

SLOW = settings(deadline=None, max_examples=40)


def sound_profile(seed, unit_count, **options):
    """A profile in which what units leave behind does not depend on their places, as in real steps."""
    profile = random_profile(seed, unit_count, segments=1, **options)
    units = []
    for unit in profile.units:
        backward = {}
        for side, (net, high) in unit.backward.items():
            again = unit.recompute[side][0] + (unit.resume[side][0] if side[1] != Place.INSIDE else 0)
            left = 3 - unit.forward[side][0] - again
            backward[side] = (left, high - net + max(left, 0))
        units.append(replace(unit, backward=backward))
    return replace(profile, units=tuple(units), segments="balanced")


def every_runs(split):
    """Every way to cut the modules of a split into segments, as runs of the chain."""
    ways = [()]
    for size in split.sizes:
        ways = [(*way, *part.sizes) for way in ways for n in range(1, size + 1) for part in all_splits(size, n)]
    return [make_runs(sizes) for sizes in ways]


@SLOW
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0, 1]), st.booleans())
def test_splits_and_segments_together_equal_brute_force(seed, unit_count, depth, extra_losses):
    profile = sound_profile(seed, unit_count, depth=depth, extra_losses=extra_losses)
    solver = Solver(local_modules(profile))
    for count in range(1, unit_count + 1):
        peaks = {
            (split, runs): step_memory(replace(profile, segments=runs), split).peak_bytes
            for split in all_splits(unit_count, count)
            for runs in every_runs(split)
        }
        best = solver.least_peak(count)
        assert best.predicted_peak_bytes == min(peaks.values())
        assert peaks[best.split, place_segments(profile, best.split)] == best.predicted_peak_bytes


@SLOW
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0, 1]), st.data())
def test_given_runs_are_put_together_as_they_are(seed, unit_count, depth, data):
    profile = sound_profile(seed, unit_count, depth=depth)
    profile = replace(profile, kept=sound_profile(seed + 1, unit_count, depth=depth).units)
    sizes = data.draw(st.sampled_from([s.sizes for n in range(1, unit_count + 1) for s in all_splits(unit_count, n)]))
    kept = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    profile = replace(profile, segments=make_runs(sizes, kept))
    solver = Solver(local_modules(profile))
    for count in range(1, unit_count + 1):
        for split in all_splits(unit_count, count):
            step, found = step_memory(profile, split), solver.evaluate(split)
            assert (found.predicted_peak_bytes, found.added_flops) == (step.peak_bytes, step.added_flops)


def test_segments_that_change_what_is_left_are_refused():
    profile = replace(random_profile(0, 3, segments=1), segments="balanced")
    with pytest.raises(SegmentError):
        local_modules(profile)
