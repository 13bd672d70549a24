"""Reads the CUDA caching allocator's own peaks.

Sees: requested, allocated and reserved bytes of the allocator, in the first step and in a steady one, as they come:
nothing is returned to the device between steps, as in training.
Does not see: the CUDA context and memory outside the allocator (but see `read_context`).
"""

import os
from collections.abc import Callable

import torch

KINDS = ("requested", "allocated", "reserved")
STEPS = 3
"""The first step, one in which the optimizer has its state, and the steady one."""

Peaks = dict[str, int]
"""Bytes by kind."""


def measure_peaks(step: Callable[[], object], device: torch.device) -> tuple[Peaks, Peaks]:
    """Peaks of the first and of the steady (third) step of a training; what is alive when a step starts counts.

    Args:
        step: one training step; the first call must be the network's first, in a process that did nothing else.
        device: a CUDA device.
    """
    peaks: list[Peaks] = []
    for _ in range(STEPS):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        stats = torch.cuda.memory_stats(device)
        peaks.append({kind: stats[f"{kind}_bytes.all.peak"] for kind in KINDS})
    return peaks[0], peaks[-1]


def read_context(device: torch.device) -> int | None:
    """Bytes this process holds on a device beside the allocator's segments: context, kernels, library handles.

    Returns:
        None where the driver does not say what a process holds, as in most containers.
    """
    import pynvml  # noqa: PLC0415 - only where there is a driver

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
        own = [
            one.usedGpuMemory for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid == os.getpid()
        ]
    except pynvml.NVMLError:
        return None
    return own[0] - torch.cuda.memory_reserved(device) if own and own[0] else None
