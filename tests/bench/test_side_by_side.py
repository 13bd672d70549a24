import threading
from contextlib import closing, contextmanager

import pytest

from bench.side_by_side import Begun, Ended, Said, work_side_by_side


@contextmanager
def always(place, wanted, tell):
    yield 7


def ended(jobs, places, hold, do):
    return [event for event in work_side_by_side(jobs, places, hold, do) if isinstance(event, Ended)]


def test_every_job_is_done_once_in_the_order_given():
    begun = [
        event.job
        for event in work_side_by_side([3, 1, 2], "a", always, lambda job, place, held, stop: None)
        if isinstance(event, Begun)
    ]
    assert begun == [3, 1, 2]


def test_what_holding_gave_and_the_place_are_handed_on():
    (event,) = ended([1], "a", always, lambda job, place, held, stop: (job, place, held, stop.is_set()))
    assert (event.job, event.place, event.result) == (1, "a", (1, "a", 7, False))


def test_without_jobs_nothing_happens():
    assert ended([], "ab", always, None) == []


def test_a_place_that_cannot_be_held_takes_no_job():
    @contextmanager
    def hold(place, wanted, tell):
        if place == "taken":
            tell("taken")
            while wanted():
                threading.Event().wait(0.001)
            yield None
        else:
            yield 7

    events = list(work_side_by_side(range(5), ["taken", "free"], hold, lambda *_: None))
    assert {event.place for event in events if isinstance(event, Ended)} == {"free"}
    assert Said("taken") in events


def test_an_error_in_a_place_is_raised_and_stops_the_others():
    stopped = threading.Event()

    def do(job, place, held, stop):
        if job == 0:
            raise ZeroDivisionError
        while not stop.is_set():
            threading.Event().wait(0.001)
        stopped.set()

    with pytest.raises(ZeroDivisionError):
        ended([1, 0], "ab", always, do)
    assert stopped.is_set()


def test_closing_stops_what_is_under_way_and_begins_no_more():
    begun = []

    def do(job, place, held, stop):
        begun.append(job)
        while not stop.is_set():
            threading.Event().wait(0.001)

    with closing(work_side_by_side(range(9), "ab", always, do)) as events:
        next(events)
        next(events)
    assert sorted(begun) == [0, 1]
