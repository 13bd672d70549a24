"""Runs jobs: every case simulated, then measured, each in its own process; one row per outcome, written at once.

Simulations run side by side, and so do measurements on several GPUs, one case on each, the longest first. Measurements
on a CPU run one after the other, with nothing else running.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.attempt import GRACE_SECONDS, attempt, begin_row
from bench.devices import Device, DeviceError, Machine, hold
from bench.isolate import Stop
from bench.jobs import Job, Settings
from bench.schedule import estimate_seconds_left, expect_seconds, order_longest_first
from bench.side_by_side import Begun, Ended, count_processes, work_side_by_side
from results.record import Environment, Measurement
from results.store import open_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one job at a time is done: a device, or one of the simulations side by side."""

    name: str
    device: Device | None = None
    """None: it simulates."""

    def hold(self, wanted: Callable[[], bool], tell: Callable[[str], object]) -> AbstractContextManager[int | None]:
        """The lock that a job there needs; a simulation would disturb whoever measures on the CPU."""
        key = self.device.key if self.device else "cpu"
        return hold(key, shared=self.device is None, wanted=wanted, tell=tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    done: int
    """Jobs that have a row."""
    total: int
    seconds_left: float
    """As far as one can know."""
    running: dict[Place, Job] = field(default_factory=dict)
    row: Measurement | None = None
    """Just finished."""
    words: str | None = None
    """What the user should know now."""


Observe = Callable[[Progress], None]
"""Told of whatever happens, in the thread that runs."""


class Do(Protocol):
    """Does a job once, as `attempt` does."""

    def __call__(
        self,
        job: Job,
        environment: Environment,
        device: Device | None,
        file: Path,
        settings: Settings,
        held: tuple[int, ...],
        stop: Stop,
    ) -> Measurement:
        """Its row."""
        ...


def run_jobs(
    jobs: Iterable[Job],
    folder: Path,
    name: str,
    settings: Settings,
    machine: Machine,
    observe: Observe,
    do: Do = attempt,
    clock: Callable[[], float] = time.monotonic,
) -> list[Measurement]:
    """Do every job that the folder has no row for, or one to be retried; return the rows of these jobs, old and new.

    Args:
        jobs: what to do; simulations are done first.
        folder: where rows are kept; a file of this run's own is added.
        name: beginning of that file's name.
        settings: limits and data, and which outcomes are tried again.
        machine: where to measure.
        observe: told of progress.
        do: does one job, in any thread.
        clock: seconds, for the time left.

    Raises:
        StoreError: the folder cannot be used, or a row cannot be written; rows written before are safe.
        DeviceError: a device is not there, or cannot be locked.
    """
    jobs = list(dict.fromkeys(jobs))  # grids of a suite may overlap
    environments = {job: _environment(job, machine) for job in jobs}
    with open_run(folder, name, patience=2 * GRACE_SECONDS, tell=lambda words: observe(_say(words))) as writer:
        for refusal in writer.refused:
            observe(_say(f"not used: {refusal}; delete it"))
        watch = _Watch(jobs=jobs, machine=machine, settings=settings, clock=clock, seen=list(writer.earlier))
        known = {row.identity: row for row in writer.earlier}
        for job in jobs:
            earlier = known.get(begin_row(job, environments[job]).identity)
            if earlier is not None and earlier.status not in settings.retry:
                watch.rows[job] = earlier
        observe(watch.look())
        said: set[str] = set()

        def work(job: Job, place: Place, lock: int, stop: Stop) -> Measurement:
            environment = place.device.environment if place.device else machine.simulated
            file = writer.row_file(begin_row(job, environment))
            return do(job, environment, place.device, file, settings, (writer.lock, lock), stop)

        for places in watch.stages:
            with closing(work_side_by_side(watch.order(places), places, Place.hold, work)) as news:
                for event in news:
                    if isinstance(event, Begun):
                        watch.begin(event.job, event.place)
                        observe(watch.look())
                    elif isinstance(event, Ended):
                        writer.add(event.result)
                        watch.end(event.job, event.place, event.result)
                        observe(
                            watch.look(row=event.result, words=_compare(known.get(event.result.identity), event.result))
                        )
                    elif event.words not in said:  # several places may wait for the same
                        said.add(event.words)
                        observe(watch.look(words=event.words))
    return [watch.rows[job] for job in jobs]


def _say(words: str) -> Progress:
    return Progress(done=0, total=0, seconds_left=0.0, words=words)


def _compare(earlier: Measurement | None, now: Measurement) -> str | None:
    """What to say of a try that ended worse than an earlier one."""
    if earlier is None or earlier.status != "ok" or now.status == "ok":
        return None
    return f"the row of {earlier.started_at} stays: it is ok, and the new one is not"


def _environment(job: Job, machine: Machine) -> Environment:
    if job.provenance == "simulated":
        return machine.simulated
    for device in machine.devices:
        if device.kind == job.device:
            return device.environment
    raise DeviceError(f"this machine does not measure on {job.device}: it has {machine.devices[0].place}")


class _Watch:
    """What is done, under way and to come."""

    def __init__(
        self,
        *,
        jobs: list[Job],
        machine: Machine,
        settings: Settings,
        clock: Callable[[], float],
        seen: list[Measurement],
    ) -> None:
        self.rows: dict[Job, Measurement] = {}
        simulating = [Place(name=f"simulation {n + 1}") for n in range(count_processes())]
        measuring = [Place(name=device.place, device=device) for device in machine.devices]
        self.stages = (simulating, measuring)
        self._jobs, self._settings, self._clock, self._seen = jobs, settings, clock, seen
        self._begun: dict[Place, tuple[Job, float]] = {}

    def order(self, places: list[Place]) -> list[Job]:
        """The jobs of a stage that have no row, as they are to be begun."""
        jobs = self._missing(places)
        return order_longest_first(jobs, self._expect()) if len(places) > 1 else jobs

    def begin(self, job: Job, place: Place) -> None:
        self._begun[place] = (job, self._clock())

    def end(self, job: Job, place: Place, row: Measurement) -> None:
        del self._begun[place]
        self.rows[job] = row
        self._seen.append(row)

    def look(self, row: Measurement | None = None, words: str | None = None) -> Progress:
        """How far everything is now."""
        return Progress(
            done=len(self.rows),
            total=len(self._jobs),
            seconds_left=self._count_seconds_left(),
            running={place: job for place, (job, _) in self._begun.items()},
            row=row,
            words=words,
        )

    def _missing(self, places: list[Place]) -> list[Job]:
        provenance = "simulated" if places[0].device is None else "measured"
        return [job for job in self._jobs if job.provenance == provenance and job not in self.rows]

    def _expect(self) -> dict[Job, float]:
        missing = [job for job in self._jobs if job not in self.rows]
        return expect_seconds(missing, self._seen, max(1.0, self._settings.limits.maximum_seconds))

    def _count_seconds_left(self) -> float:
        expected, now = self._expect(), self._clock()
        begun = {job: max(0.0, expected[job] - (now - since)) for job, since in self._begun.values()}
        left = 0.0
        for places in self.stages:
            jobs = self._missing(places)
            waiting = [expected[job] for job in jobs if job not in begun]
            left += estimate_seconds_left(waiting, [begun[job] for job in jobs if job in begun], len(places))
        return left
