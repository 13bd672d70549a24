"""Reads the CUDA caching allocator's own peaks.

Sees: requested, allocated and reserved bytes of the allocator, in the first step and in steady ones.
Does not see: the CUDA context and memory outside the allocator.
"""

import gc
from collections.abc import Callable
from typing import Any

import torch

STEADY_STEPS = 2


def measure_peaks(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Peaks of the first step and of steady steps, as fields of `Readings`.

    Args:
        step: one training step; the first call must be the network's first.
        device: a CUDA device.
    """
    first = _peaks_of(step, device, steps=1)
    step()  # the optimizer has its state, lazy buffers are there
    steady = _peaks_of(step, device, steps=STEADY_STEPS)
    return {
        "first_step_peak_allocated_bytes": first["allocated"],
        **{f"peak_{name}_bytes": value for name, value in steady.items()},
        "workspace": "measured",
    }


def _peaks_of(step: Callable[[], object], device: torch.device, steps: int) -> dict[str, int]:
    # The order matters: a reset before empty_cache would count cached segments.
    torch.cuda.synchronize(device)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(steps):
        step()
    torch.cuda.synchronize(device)
    stats = torch.cuda.memory_stats(device)
    return {name: stats[f"{name}_bytes.all.peak"] for name in ("requested", "allocated", "reserved")}
