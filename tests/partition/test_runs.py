"""Runs of gradient checkpointing: their notation, and what of them lies in a module."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import SplitError
from partition.runs import Run, check_runs, find_runs, make_runs, parse_runs, write_runs

RUNS = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=6).map(
    lambda runs: make_runs(*zip(*runs, strict=True))
)


@given(RUNS)
def test_notation_and_runs_say_the_same(runs):
    assert parse_runs(write_runs(runs)) == runs


def test_a_single_segment_is_a_number_of_segments():
    assert write_runs(make_runs((9,))) == "1"
    assert write_runs(make_runs((9,), (True,))) == "k9"


@given(RUNS, st.data())
def test_runs_of_a_module_cover_it_and_kept_ones_that_meet_are_one(runs, data):
    count = runs[-1].units.stop
    start = data.draw(st.integers(0, count - 1))
    units = range(start, data.draw(st.integers(start + 1, count)))
    found = find_runs(runs, units)
    assert [unit for run in found for unit in run.units] == list(units)
    kept = {unit for run in runs if run.kept for unit in run.units}
    assert {unit for run in found if run.kept for unit in run.units} == kept & set(units)
    assert not any(a.kept and b.kept for a, b in pairwise(found))


def test_a_number_is_of_segments_in_every_module_and_none_keeps_all():
    assert find_runs(2, range(3, 8)) == (Run(range(3, 5)), Run(range(5, 8)))
    assert len(find_runs(9, range(4))) == 4
    assert find_runs(None, range(3, 8)) == (Run(range(3, 8), kept=True),)


def test_runs_that_do_not_fit_are_refused():
    with pytest.raises(SplitError, match=r"segments 3\.k2 sum to 5, but the chain has 7 units"):
        check_runs(make_runs((3, 2), (False, True)), 7)
    with pytest.raises(SplitError, match="placed where a case is built"):
        find_runs("balanced", range(3))
