"""How long jobs will take, as far as one can know: for their order on several devices, and for the time left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import StatisticsError, linear_regression, mean

from bench.jobs import Job
from results.record import Case, Measurement, Provenance

START_SECONDS = {"simulated": 2.0, "measured": 8.0}
"""First guess of what a case takes beside its steps, until a row says better."""


def expect_seconds(jobs: Iterable[Job], rows: Iterable[Measurement], step_seconds: float) -> dict[Job, float]:
    """Expected duration of every job.

    A job that has a row takes what it took then. Others take what their FLOPs say, by a line through the measured rows
    of this kind of device; without such rows, a guess in proportion to the FLOPs. FLOPs are those of the simulated row
    of the case, in proportion to the batch.

    Args:
        jobs: any.
        rows: of any jobs, older before newer.
        step_seconds: guess of the seconds that the steps of a mean case take.
    """
    jobs, rows = list(jobs), list(rows)
    known = {job_of(row): row.wall_seconds for row in rows if row.status in ("ok", "timeout")}
    per_image = {_workload(row.case): flops for row in rows if (flops := _flops_per_image(row)) is not None}
    fit = _Fit([(job, seconds, _flops(job.case, per_image)) for job, seconds in known.items()])
    unknown = [flops for job in jobs if job not in known and (flops := _flops(job.case, per_image)) is not None]
    usual = mean(unknown) if unknown else None

    def expect(job: Job) -> float:
        flops = _flops(job.case, per_image)
        seconds = known.get(job) or fit.predict(job, flops)
        if seconds is not None:
            return seconds
        steps = step_seconds if job.provenance == "measured" else 0.0
        return START_SECONDS[job.provenance] + steps * (flops / usual if flops and usual else 1.0)

    return {job: expect(job) for job in jobs}


def order_longest_first(jobs: Iterable[Job], expected: Mapping[Job, float]) -> list[Job]:
    """Jobs in the order that keeps several places busy until the end; equal ones stay in order."""
    return sorted(jobs, key=lambda job: -expected[job])


def estimate_seconds_left(expected: Sequence[float], begun: Sequence[float], places: int) -> float:
    """Seconds until jobs are done that are begun in this order, each where a place is free.

    Args:
        expected: seconds of the jobs not yet begun.
        begun: seconds that those under way are expected to need still.
        places: that work side by side, at least 1.
    """
    free = sorted([*(max(0.0, each) for each in begun), *([0.0] * (places - len(begun)))])
    for seconds in expected:
        free[0] += seconds
        free.sort()
    return free[-1]


def job_of(row: Measurement) -> Job:
    """The job that a row answers."""
    return Job(case=row.case, provenance=row.provenance, device=row.device, measure=row.measure)


class _Fit:
    """Seconds by FLOPs, as a line through what was seen of jobs of a kind."""

    def __init__(self, seen: Iterable[tuple[Job, float, float | None]]) -> None:
        self._lines: dict[tuple[Provenance, str, str], tuple[float, float]] = {}
        kinds: dict[tuple[Provenance, str, str], list[tuple[float, float]]] = {}
        for job, seconds, flops in seen:
            kinds.setdefault(_kind(job), []).append((flops or 0.0, seconds))
        for kind, points in kinds.items():
            flat = (0.0, mean(seconds for _, seconds in points))
            self._lines[kind] = (_draw_line(points) or flat) if kind[0] == "measured" else flat

    def predict(self, job: Job, flops: float | None) -> float | None:
        if _kind(job) not in self._lines:
            return None
        slope, intercept = self._lines[_kind(job)]
        return max(0.1, intercept + slope * (flops or 0.0))


def _draw_line(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Slope and intercept, where more FLOPs take longer."""
    try:
        slope, intercept = linear_regression(*zip(*points, strict=True))
    except StatisticsError:  # a single point, or FLOPs all the same
        return None
    return (slope, intercept) if slope > 0 else None


def _kind(job: Job) -> tuple[Provenance, str, str]:
    return job.provenance, job.device, job.measure


def _workload(case: Case) -> Case:
    """The case but for what leaves its FLOPs per image alone."""
    return replace(case, batch_size=1, data="synthetic")


def _flops_per_image(row: Measurement) -> float | None:
    flops = row.readings.training_flops
    return None if flops is None else flops / row.case.batch_size


def _flops(case: Case, per_image: Mapping[Case, float]) -> float | None:
    one = per_image.get(_workload(case))
    return None if one is None else one * case.batch_size
