"""Does jobs in several places at once, one in each, the next one wherever a place is free."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from bench.isolate import Outcome, Stop, run_isolated

J = TypeVar("J")
P = TypeVar("P")
R = TypeVar("R")

MOST_PROCESSES = 8
"""At once, however many cores there are; each takes some 0.4 GB."""

Hold = Callable[[P, Callable[[], bool], Callable[[str], object]], AbstractContextManager[int | None]]
"""Of a place, whether it is still wanted, and whom to tell of a wait: a context in which the place may be used; it
yields what `do` gets, or None where the place is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Begun(Generic[J, P]):
    """A job was begun."""

    job: J
    place: P


@dataclass(frozen=True, slots=True)
class Ended(Generic[J, P, R]):
    """A job is done."""

    job: J
    place: P
    result: R


@dataclass(frozen=True, slots=True)
class Said:
    """Something that a place has to say."""

    words: str


def work_side_by_side(
    jobs: Iterable[J], places: Sequence[P], hold: "Hold[P]", do: Callable[[J, P, int, Stop], R]
) -> Generator[Begun[J, P] | Ended[J, P, R] | Said, None, None]:
    """Do jobs in order, each in the first place that is free and held.

    A job is taken only by a place that is held, so that none waits for a place while another is free. Closing the
    generator stops what is under way, and waits for it.

    Args:
        jobs: in the order in which they are begun.
        places: one job at a time is done in each.
        hold: of a place, before a job is taken there.
        do: of a job, its place, what holding it gave, and what stops it; its errors are raised here.
    """
    team = _Team(todo=deque(jobs), news=SimpleQueue(), stop=Stop(), hold=hold, do=do)
    left = len(team.todo)
    threads = [threading.Thread(target=team.work, args=(place,), name=f"{place}") for place in places[:left]]
    try:
        for thread in threads:
            thread.start()
        while left:
            item = team.news.get()
            if isinstance(item, BaseException):
                raise item
            left -= isinstance(item, Ended)
            yield item
    finally:
        team.stop.set()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Team(Generic[J, P, R]):
    """What the threads share."""

    todo: deque[J]
    news: SimpleQueue[Begun[J, P] | Ended[J, P, R] | Said | BaseException]
    stop: Stop
    hold: "Hold[P]"
    do: Callable[[J, P, int, Stop], R]

    def work(self, place: P) -> None:
        """Do jobs in one place until none is left, or until all is to stop."""
        try:
            while self._is_on():
                with self.hold(place, self._is_on, lambda words: self.news.put(Said(words))) as held:
                    if held is not None and self._is_on():
                        self._do_next(place, held)
        except BaseException as error:  # noqa: BLE001 - raised where somebody sees it
            self.news.put(error)

    def _is_on(self) -> bool:
        return bool(self.todo) and not self.stop.is_set()

    def _do_next(self, place: P, held: int) -> None:
        try:
            job = self.todo.popleft()
        except IndexError:  # another place was faster
            return
        self.news.put(Begun(job, place))
        self.news.put(Ended(job, place, self.do(job, place, held, self.stop)))


def count_processes() -> int:
    """How many processes compute side by side on this machine."""
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES)


def isolate_each(
    function: str, items: Iterable[J], *arguments: object, time_limit: float
) -> Iterator[tuple[J, Outcome]]:
    """Call `function(item, *arguments, report)` for every item in a process of its own; the first to end comes first.

    What is under way is killed when the caller is interrupted or wants no more.

    Args:
        function: `module:name`; see `run_isolated`.
        items: can be pickled.
        *arguments: the same for every item; can be pickled.
        time_limit: seconds for each.
    """

    def call(item: J, _place: int, _held: int, stop: Stop) -> Outcome:
        return run_isolated(function, item, *arguments, time_limit=time_limit, stop=stop)

    with closing(work_side_by_side(items, range(count_processes()), lambda *_: nullcontext(0), call)) as news:
        for item in news:
            if isinstance(item, Ended):
                yield item.job, item.result
