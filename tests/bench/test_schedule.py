from dataclasses import replace

import pytest

from bench.attempt import begin_row
from bench.schedule import estimate_seconds_left, expect_seconds, order_longest_first
from results.record import Readings
from tests.bench.engine import ENVIRONMENT, make_jobs

SHORT, MIDDLE, LONG = make_jobs("e2e", "dgl", "greedy", device="cuda", provenances=("measured",))


def row(job, seconds=1.0, flops=None, **fields):
    readings = Readings(training_flops=flops)
    return replace(begin_row(job, ENVIRONMENT), wall_seconds=seconds, readings=readings, **{"status": "ok"} | fields)


def simulated(job, flops):
    return row(replace(job, provenance="simulated", device="cuda"), flops=flops)


FLOPS = [simulated(SHORT, 10), simulated(MIDDLE, 20), simulated(LONG, 30)]


def test_without_any_row_all_take_the_same_guess():
    assert set(expect_seconds([SHORT, MIDDLE, LONG], [], 4.0).values()) == {12.0}


def test_without_measurements_the_guess_for_the_steps_is_shared_out_by_flops():
    assert list(expect_seconds([SHORT, MIDDLE, LONG], FLOPS, 4.0).values()) == [10.0, 12.0, 14.0]


def test_flops_of_another_batch_are_taken_in_proportion():
    larger = replace(SHORT, case=replace(SHORT.case, batch_size=4 * SHORT.case.batch_size))
    expected = expect_seconds([SHORT, larger], FLOPS, 5.0)
    assert (expected[larger] - 8.0) == pytest.approx(4 * (expected[SHORT] - 8.0))


def test_a_row_is_the_best_guess_for_its_own_job_and_a_line_through_rows_for_others():
    expected = expect_seconds([SHORT, MIDDLE, LONG], [*FLOPS, row(SHORT, 7.0), row(MIDDLE, 9.0)], 1.0)
    assert expected == {SHORT: 7.0, MIDDLE: 9.0, LONG: pytest.approx(11.0)}


def test_a_single_row_is_the_guess_for_all_of_its_kind():
    expected = expect_seconds([MIDDLE, replace(LONG, device="cpu")], [*FLOPS, row(SHORT, 7.0)], 1.0)
    assert list(expected.values()) == [7.0, pytest.approx(9.2)]


def test_rows_that_say_less_for_more_flops_are_averaged():
    expected = expect_seconds([LONG], [*FLOPS, row(SHORT, 9.0), row(MIDDLE, 7.0)], 1.0)
    assert expected[LONG] == 8.0


def test_a_timeout_took_its_time_and_a_failure_says_nothing():
    assert expect_seconds([SHORT], [row(SHORT, 300.0, status="timeout")], 1.0)[SHORT] == 300.0
    assert expect_seconds([SHORT], [row(SHORT, 0.1, status="failed")], 1.0)[SHORT] == 9.0


def test_longest_first_and_equal_ones_in_order():
    assert order_longest_first([SHORT, MIDDLE, LONG], {SHORT: 1.0, MIDDLE: 2.0, LONG: 2.0}) == [MIDDLE, LONG, SHORT]


@pytest.mark.parametrize(
    ("expected", "begun", "places", "left"),
    [
        ([], [], 1, 0.0),
        ([3.0, 2.0], [], 1, 5.0),
        ([3.0, 2.0, 2.0], [], 2, 4.0),
        ([2.0], [5.0], 2, 5.0),
        ([2.0, 2.0], [5.0, 1.0], 2, 5.0),
        ([2.0], [-9.0], 1, 2.0),  # late already
    ],
)
def test_the_time_left_is_that_of_the_place_that_ends_last(expected, begun, places, left):
    assert estimate_seconds_left(expected, begun, places) == left
