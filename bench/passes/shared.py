"""What the passes of a case have in common."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.environment import read_uuid
from bench.isolated import Report
from bench.probes.limits import Limits
from bench.probes.machine import Cpu, Cuda, Machine
from bench.probes.nvml import Gpu, open_gpu
from results.record import Case
from results.samples import Phase


class Phases:
    """Tells the caller what is under way, and keeps how long each stretch took."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._now = "start"
        self._since = time.time() - _read_age()
        self._seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """Say what comes next."""
        self._report(name)
        self._end()
        self._now = name

    def finish(self) -> tuple[Phase, ...]:
        """All stretches, in the order they first began; a stretch that came twice has its sum."""
        self._end()
        return tuple(Phase(name=name, seconds=seconds) for name, seconds in self._seconds.items())

    def _end(self) -> None:
        now = time.time()
        self._seconds[self._now] = self._seconds.get(self._now, 0.0) + max(now - self._since, 0.0)
        self._since = now


def _read_age() -> float:
    """Seconds since this process was started."""
    began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]  # in ticks since the machine was booted
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(began) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Pass:
    """What all passes of a case have in common."""

    case: Case
    device: torch.device
    limits: Limits
    phases: Phases
    gpu: Gpu | None
    flags: dict[str, None]
    """In the order they came up."""

    @property
    def machine(self) -> Machine:
        """What times steps."""
        return Cuda(self.device, self.gpu) if self.device.type == "cuda" else Cpu()

    @property
    def e2e(self) -> Case:
        """The case that this one is compared with."""
        return replace(self.case, method="e2e", module_count=1, split_policy="equal")


def open_device(device: torch.device) -> Gpu | None:
    """NVML as it is before CUDA starts, None where there is none, and then CUDA."""
    before = open_gpu()
    torch.zeros(1, device=device)
    if isinstance(before, str):
        return None
    found = open_gpu(read_uuid(device))
    # By the order of `CUDA_VISIBLE_DEVICES` alone another card may have been looked at before.
    if isinstance(found, str) or (found.uuid is not None and found.uuid == before.uuid):
        return before
    return replace(found, earlier_processes=frozenset(), earlier_used_bytes=None)


class ProcessMemory(NamedTuple):
    """What this process holds on its device, by the names of `Readings`."""

    device_process_bytes: int
    device_process_source: str
    """How that is known: `process` or `device`, as `Gpu.process_memory` says."""
    context_bytes: int
    """What of it is not in the allocator's segments."""


def read_process_memory(gpu: Gpu | None, device: torch.device) -> ProcessMemory | None:
    """What NVML says that this process holds now; None where it says nothing."""
    told = gpu.process_memory() if gpu else None
    return None if told is None else ProcessMemory(*told, told[0] - torch.cuda.memory_reserved(device))


def as_readings(held: ProcessMemory | None) -> dict[str, Any]:
    """Memory of the process as fields of `Readings`."""
    return held._asdict() if held else dict.fromkeys(ProcessMemory._fields)
