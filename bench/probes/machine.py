"""What timing is done with: a clock, marks in the stream of work, and what the device says of itself.

Timing is written against `Machine`, so that its rules are tested on a clock that moves when told.
"""

import time
from typing import Any, Protocol

import torch

from bench.probes.nvml import Gpu
from results.samples import DeviceState

EVENT_RESOLUTION = 0.5e-6
"""Seconds; as `cudaEventElapsedTime` documents."""


class Machine(Protocol):
    """Where steps are timed."""

    kind: str
    """`cpu` or `cuda`."""
    queues: bool
    """Whether the host queues work and goes on: a step's time is then not the time its call takes."""
    default_clock_hertz: int | None

    def now(self) -> float:
        """Wall clock in seconds."""
        ...

    def mark(self) -> Any:
        """A point in the stream of work."""
        ...

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one mark to another, after `synchronize`."""
        ...

    def synchronize(self) -> None:
        """Return when all work is done."""
        ...

    def state(self) -> DeviceState | None:
        """What the device says of itself; None where it says nothing."""
        ...

    def energy_joules(self) -> float | None:
        """The device's energy counter."""
        ...


class Cpu:
    """Work is done when a call returns."""

    kind = "cpu"
    queues = False
    default_clock_hertz: int | None = None

    def now(self) -> float:
        """Wall clock in seconds."""
        return time.perf_counter()

    def mark(self) -> float:
        """The time now."""
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Seconds between two times."""
        return end - start

    def synchronize(self) -> None:
        """Nothing is queued."""

    def state(self) -> None:
        """A CPU says nothing of itself."""

    def energy_joules(self) -> None:
        """Nothing is told."""


class Cuda:
    """Marks are events of the current stream; NVML tells the rest, where it is there."""

    kind = "cuda"
    queues = True

    def __init__(self, device: torch.device, gpu: Gpu | None) -> None:
        self.device = device
        self.gpu = gpu
        self.default_clock_hertz = gpu.default_clock_hertz() if gpu else None

    def now(self) -> float:
        """Wall clock in seconds."""
        return time.perf_counter()

    def mark(self) -> torch.cuda.Event:
        """An event, recorded now."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Seconds between two events, at least what CUDA resolves."""
        return max(start.elapsed_time(end) / 1000, EVENT_RESOLUTION)

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self.device)

    def state(self) -> DeviceState | None:
        """Clocks, temperature and the rest, as NVML tells."""
        return self.gpu.state() if self.gpu else None

    def energy_joules(self) -> float | None:
        """As NVML tells."""
        return self.gpu.energy_joules() if self.gpu else None
