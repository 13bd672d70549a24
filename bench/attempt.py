"""One attempt at a job, in a process of its own; its row comes back through a file (`bench/leave_row.py`)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.devices import Device
from bench.isolate import Outcome, Stop, run_isolated
from bench.jobs import Job, Settings
from results.record import Environment, Measure, Measurement, Provenance
from results.store import StoreError, read_file

GRACE_SECONDS = 30.0
"""For a case's process to finish when the run that started it has died."""
COMPILE_SECONDS = 900.0
"""That a compiled case has beside its time limit: a C++ compiler runs thirty times for a network of eight layers."""
Functions = Mapping[tuple[Provenance, Measure], str]
FUNCTIONS: Functions = {
    ("simulated", "step"): "bench.worker:simulate",
    ("measured", "step"): "bench.worker:measure",
    ("measured", "least_memory"): "bench.worker:measure_least_memory",
}
"""Gives the readings of a case, by what is asked."""


def attempt(
    job: Job,
    environment: Environment,
    device: Device | None,
    file: Path,
    settings: Settings,
    held: Sequence[int],
    stop: Stop | None = None,
    functions: Functions = FUNCTIONS,
) -> Measurement:
    """Do a job once; whatever happens there is a row.

    Args:
        job: what to do.
        environment: of the row.
        device: where it is measured; None for a simulation.
        file: where its process writes the row; read back here, and left there.
        settings: limits and data.
        held: descriptors of the locks that the process is to hold as long as it lives.
        stop: when set, the process is killed.
        functions: what is called there.
    """
    begun = time.monotonic()
    template = begin_row(job, environment)
    file.unlink(missing_ok=True)
    arguments: tuple[object, ...] = (job.case,)
    if device is not None:
        arguments = (job.case, device.kind, settings.limits, settings.data_root)
    on_cpu = device is not None and device.kind == "cpu"
    outcome = run_isolated(
        "bench.leave_row:leave_row",
        template,
        file,
        functions[job.provenance, job.measure],
        arguments,
        begun,
        time_limit=settings.time_limit + (COMPILE_SECONDS if job.case.compile != "none" else 0.0),
        memory_limit=psutil.virtual_memory().available if on_cpu else None,
        variables=choose_variables(job, device),
        held=held,
        grace=GRACE_SECONDS,
        stop=stop,
    )
    return read_row(template, file, outcome)


def read_row(template: Measurement, file: Path, outcome: Outcome) -> Measurement:
    """The row that a process left, or the one that says why it left none."""
    failed = replace(
        template,
        status="failed" if outcome.status == "ok" else outcome.status,
        phase=outcome.phase,
        message=outcome.message or "the process ended without a row",
        wall_seconds=outcome.seconds,
    )
    if not file.exists():
        return failed
    try:
        (row,) = read_file(file)
    except (StoreError, ValueError) as error:
        refused = f"its row is refused: {error}"
        return replace(failed, message=refused if outcome.status == "ok" else f"{failed.message}; {refused}")
    if row.identity != template.identity:
        return replace(failed, message=f"its row is refused: {file} holds another case ({row.case.label})")
    return replace(row, wall_seconds=outcome.seconds)


def begin_row(job: Job, environment: Environment) -> Measurement:
    """A row without an outcome yet."""
    return Measurement(
        case=job.case,
        provenance=job.provenance,
        device=job.device,
        measure=job.measure,
        status="failed",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_seconds=0.0,
        environment=environment,
    )


def choose_variables(job: Job, device: Device | None) -> dict[str, str | None] | None:
    """Environment of a process on a GPU: the GPU, and the settings of the allocator, which torch reads once."""
    if device is None or device.variables is None:
        return None
    if not job.case.allocator:
        return device.variables
    return {**device.variables, "PYTORCH_ALLOC_CONF": job.case.allocator, "PYTORCH_CUDA_ALLOC_CONF": None}
