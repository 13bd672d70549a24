"""Reads how much memory a training takes: the CUDA caching allocator's own peaks, or the resident set on a CPU.

Order on CUDA: the first step (cold, with whatever is set up only once), two more as they come; then synchronise,
collect garbage, empty the cache, reset the peaks, run three steps, synchronise, read. cuBLAS takes its workspace from
the allocator with the first matrix product, and keeps it, so that steady peaks hold it.

Sees: requested, allocated, active and reserved bytes, free parts of segments, retries, pinned host memory; on a CPU the
high-water mark of the resident set.
Does not see: the CUDA context and memory outside the allocator (but see `bench.probes.nvml`).
"""

import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KINDS = ("requested", "allocated", "reserved")
"""Of peaks that simulations have as well."""
ALL_KINDS = (*KINDS, "active", "inactive_split")
STEPS = 3
"""The first step, one in which the optimizer has its state, and the steady one."""
EMPTIED_STEPS = 3
"""Steps after the cache was emptied."""

Peaks = dict[str, int]
"""Bytes by kind."""
Step = Callable[[], object]


def measure_peaks(step: Step, device: torch.device) -> tuple[Peaks, Peaks]:
    """Peaks of the first and of the steady (third) step of a training, as they come: nothing is returned to the device.

    What is alive when a step starts counts.

    Args:
        step: one training step; the first call must be the network's first, in a process that did nothing else.
        device: a CUDA device.
    """
    peaks = [_peaks_of([step], device) for _ in range(STEPS)]
    return peaks[0], peaks[-1]


def measure_emptied_peaks(step: Step, device: torch.device) -> Peaks:
    """Peaks of three steps that begin with an empty cache, in a training that is warm."""
    empty(device)
    return _peaks_of([step] * EMPTIED_STEPS, device)


def _peaks_of(steps: list[Step], device: torch.device) -> Peaks:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    for step in steps:
        step()
    torch.cuda.synchronize(device)
    return read_peaks(device)


def read_peaks(device: torch.device) -> Peaks:
    """Peaks of every kind since they were reset."""
    stats: Any = torch.cuda.memory_stats(device)
    return {kind: stats[f"{kind}_bytes.all.peak"] for kind in ALL_KINDS}


def empty(device: torch.device) -> None:
    """Give back what nobody holds: garbage, and on CUDA the allocator's cache."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def count_retries(device: torch.device) -> int:
    """How often the allocator gave memory back to serve a request, since the process began."""
    return int(torch.cuda.memory_stats(device)["num_alloc_retries"])


def read_pinned_peak() -> int | None:
    """Most pinned host memory that torch held since the process began; None where torch does not tell."""
    stats: Any = getattr(torch.cuda, "host_memory_stats", dict)()
    return stats.get("allocated_bytes.peak")


def keep_highest(peaks: Peaks, others: Peaks) -> None:
    """Raise peaks to those of another round."""
    peaks.update({kind: max(size, peaks.get(kind, 0)) for kind, size in others.items()})


def forget_resident_peak() -> None:
    """Have the kernel begin the high-water mark of the resident set anew, where it lets a process do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def read_resident_peak() -> int:
    """High-water mark of the resident set in bytes."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    told = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return 1024 * (int(told) if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def read_resident() -> int:
    """Resident set now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
