"""The pass of memory: peaks of the first, the steady and the emptied step on a GPU, the resident set on a CPU."""

from collections.abc import Callable
from typing import Any

from bench.environment import read_uuid
from bench.passes.shared import Pass, ProcessMemory, as_readings, read_process_memory
from bench.probes import memory
from bench.probes.validity import Watched
from bench.training import build_training, count_rounds

CPU_STEPS = 1
"""Counted steps of the memory pass on a CPU; the resident set moves little from one to the next."""


def measure_memory(run: Pass) -> dict[str, Any]:
    """Peaks of the highest round, as fields of `Readings`."""
    return _measure_cuda_memory(run) if run.device.type == "cuda" else measure_resident(run)


def _measure_cuda_memory(run: Pass) -> dict[str, Any]:
    device = run.device
    peaks: dict[str, memory.Peaks] = {"first": {}, "steady": {}, "emptied": {}}
    held: ProcessMemory | None = None
    counted, seconds = 0, 0.0
    for number in range(count_rounds(run.case)):
        run.phases.begin("memory")
        watched = Watched(build_training(run.case, device, training_round=number))
        step = _announce_compiling(run, watched)
        first, steady = memory.measure_peaks(step, device)
        emptied = memory.measure_emptied_peaks(step, device)
        for kind, found in zip(peaks, (first, steady, emptied), strict=True):
            memory.keep_highest(peaks[kind], found)
        now = read_process_memory(run.gpu, device)
        held = max((one for one in (held, now) if one), key=lambda one: one.device_process_bytes, default=None)
        watched.check()
        counted, seconds = counted + watched.steps_counted, seconds + watched.first_seconds
        del watched
        memory.empty(device)  # the next round begins as in a new process
    retries = memory.count_retries(device)
    if retries:
        run.flags["retries"] = None
    return {
        **{f"peak_{kind}_bytes": peaks["steady"][kind] for kind in (*memory.KINDS, "active")},
        **{f"first_step_peak_{kind}_bytes": peaks["first"][kind] for kind in (*memory.KINDS, "active")},
        "emptied_peak_reserved_bytes": peaks["emptied"]["reserved"],
        "peak_inactive_split_bytes": peaks["emptied"]["inactive_split"],
        "allocation_retry_count": retries,
        "peak_pinned_bytes": memory.read_pinned_peak(),
        **as_readings(held),
        "peak_resident_bytes": memory.read_resident_peak(),
        "workspace": "measured",
        "first_step_seconds": seconds,
        "steps_counted": counted,
        "device_uuid": read_uuid(device),
    }


def measure_resident(run: Pass) -> dict[str, Any]:
    """The resident set on a CPU: its high-water mark over steps that are warm."""
    start, highest, counted, seconds = memory.read_resident(), 0, 0, 0.0
    for number in range(count_rounds(run.case)):
        run.phases.begin("memory")
        watched = Watched(build_training(run.case, run.device, training_round=number))
        step = _announce_compiling(run, watched)
        for _ in range(memory.STEPS - 1):
            step()
        memory.empty(run.device)
        memory.forget_resident_peak()
        for _ in range(CPU_STEPS):
            step()
        highest = max(highest, memory.read_resident_peak())
        watched.check()
        counted, seconds = counted + watched.steps_counted, seconds + watched.first_seconds
        del watched
        memory.empty(run.device)
    return {
        "resident_before_bytes": start,
        "peak_resident_bytes": highest,
        "first_step_seconds": seconds,
        "steps_counted": counted,
    }


def _announce_compiling(run: Pass, watched: Watched) -> Callable[[], None]:
    """A training step; where the case is compiled the first one does that, and is a stretch of its own."""
    if run.case.compile == "none":
        return watched.step_alone

    def step() -> None:
        run.phases.begin("memory" if watched.call_count else "compile")
        watched.step_alone()

    return step
