"""Runs a suite: every case simulated, then measured, each in its own process; one row per outcome, written at once.

Simulations run side by side; measurements one after the other, with nothing else running.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil

from bench.isolate import Outcome, Stop, run_isolated
from bench.probes.limits import Limits
from results.record import FINISHED, Case, Environment, Measurement, Provenance, Readings
from results.store import open_run

START_LIMIT = 120.0
"""Seconds for the questions that every run asks first; a cold disk reads torch slowly."""


MOST_PROCESSES = 8
"""Simulations side by side; each takes some 0.4 GB."""


class RunError(RuntimeError):
    """A run that cannot begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row to be made."""

    case: Case
    provenance: Provenance
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How every job of a run is done."""

    limits: Limits
    time_limit: float
    """Seconds after which a case's process is killed."""
    data_root: str | None = None


Observe = Callable[[Measurement | None, int, int], None]
"""Called with the row just finished (None at the start), the number of rows done and of all."""


def find_device() -> Literal["cpu", "cuda"]:
    """Where this machine measures.

    Raises:
        RunError: torch does not start.
    """
    return _ask("bench.worker:find_device")


def run_jobs(jobs: Iterable[Job], folder: Path, name: str, settings: Settings, observe: Observe) -> list[Measurement]:
    """Do every job that the folder has no finished row for; return all rows of these jobs, old and new.

    Args:
        jobs: what to do; simulations are done first.
        folder: where rows are kept; a file of this run's own is added.
        name: beginning of that file's name.
        settings: limits and data.
        observe: told of progress.

    Raises:
        StoreError: the folder cannot be used, or a row cannot be written; rows written before are safe.
        RunError: torch does not start.
    """
    jobs = list(jobs)
    environments = {
        "simulated": _ask("bench.worker:environment", None),
        "measured": _ask("bench.worker:environment", _measuring_device(jobs)),
    }
    with open_run(folder, name) as writer:
        finished = {row.identity: row for row in writer.earlier if row.status in FINISHED}
        rows: dict[Job, Measurement] = {}
        for job in jobs:
            earlier = finished.get(_row(job, environments, Outcome(status="ok", seconds=0.0)).identity)
            if earlier is not None:
                rows[job] = earlier
        observe(None, len(rows), len(jobs))
        for job, outcome in _do([job for job in jobs if job not in rows], settings):
            rows[job] = _row(job, environments, outcome)
            writer.add(rows[job])
            observe(rows[job], len(rows), len(jobs))
    return [rows[job] for job in jobs]


def _measuring_device(jobs: list[Job]) -> str:
    return next((job.device for job in jobs if job.provenance == "measured"), "cpu")


def _ask(question: str, *arguments: object) -> Any:
    outcome = run_isolated(question, *arguments, time_limit=START_LIMIT)
    if outcome.status != "ok":
        raise RunError(f"torch does not start: {outcome.message} (phase: {outcome.phase})")
    return outcome.result


def _do(jobs: list[Job], settings: Settings) -> Iterator[tuple[Job, Outcome]]:
    simulated = [job for job in jobs if job.provenance == "simulated"]
    stop = Stop()
    simulate = partial(run_isolated, "bench.worker:simulate", time_limit=settings.time_limit, stop=stop)
    with ThreadPoolExecutor(max_workers=min(len(os.sched_getaffinity(0)), MOST_PROCESSES)) as pool:
        futures = {pool.submit(simulate, job.case): job for job in simulated}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    for job in jobs:
        if job.provenance == "measured":
            outcome = run_isolated(
                "bench.worker:measure",
                job.case,
                job.device,
                settings.limits,
                settings.data_root,
                time_limit=settings.time_limit,
                memory_limit=psutil.virtual_memory().available if job.device == "cpu" else None,
            )
            yield job, outcome


def _row(job: Job, environments: dict[str, Environment], outcome: Outcome) -> Measurement:
    return Measurement(
        case=job.case,
        provenance=job.provenance,
        device=job.device,
        status=outcome.status,
        phase=outcome.phase,
        message=outcome.message,
        started_at=(datetime.now(UTC) - timedelta(seconds=outcome.seconds)).isoformat(timespec="seconds"),
        wall_seconds=outcome.seconds,
        readings=outcome.result or Readings(),
        environment=environments[job.provenance],
    )
