"""Asks a GPU about itself through NVML (`nvidia-ml-py`, module `pynvml`). Imports no torch.

A container hides the processes of others, and often this one's own; what is then told otherwise is said with the
answer. A call that a driver or a card does not know, or does not allow, is answered by None. Of a part of a GPU (MIG)
NVML tells the memory, but no clocks, temperature, power and energy.

Sees: clocks, why they are held down, temperature, power, energy, memory of the device and of processes on it.
Does not see: what one process computes; memory by anything finer than a process.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

from results.samples import DeviceState

THROTTLE_REASONS = {
    0x1: "idle",
    0x2: "applications clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clock setting",
}
"""Bits of `nvmlDeviceGetCurrentClocksEventReasons`, from `nvml.h`."""
MEGA = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML has it."""

    library: Any
    """`pynvml`, or what stands in for it."""
    handle: Any
    uuid: str | None = None
    """Its name, which begins with `GPU-`, or with `MIG-` where it is a part of one; None where NVML does not tell."""
    earlier_processes: frozenset[int] = frozenset()
    """Processes that computed on it when it was opened."""
    earlier_used_bytes: int | None = None
    """Memory in use on the whole device then."""

    def state(self) -> DeviceState:
        """What it says of itself now; NVML takes some milliseconds."""
        nvml = self.library
        power, bits = self._ask("nvmlDeviceGetPowerUsage"), self._throttle_bits()
        return DeviceState(
            sm_clock_hertz=_hertz(self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)),
            memory_clock_hertz=_hertz(self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)),
            temperature_celsius=self._ask_either(
                "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU
            ),
            power_watts=None if power is None else power / 1000,
            throttle_reasons=None if bits is None else name_reasons(bits),
            foreign_process_count=self._count_foreign(),
        )

    def energy_joules(self) -> float | None:
        """Energy since the driver was loaded, by the card's counter; it moves some ten times a second."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1000

    def process_memory(self) -> tuple[int, str] | None:
        """Bytes this process holds, and how that is known: `process` or, where processes are hidden, `device`.

        The second is what is in use on the whole device beyond what was when it was opened; others move it too.
        """
        for process in self._processes():
            if process.pid == os.getpid() and process.usedGpuMemory:
                return process.usedGpuMemory, "process"
        used = self._used_bytes()
        if used is None or self.earlier_used_bytes is None:
            return None
        return max(used - self.earlier_used_bytes, 0), "device"

    def default_clock_hertz(self) -> int | None:
        """Default clock of the multiprocessors: for applications, or the highest where the card has no such default."""
        clock = self._ask("nvmlDeviceGetDefaultApplicationsClock", self.library.NVML_CLOCK_SM)
        return _hertz(clock or self._ask("nvmlDeviceGetMaxClockInfo", self.library.NVML_CLOCK_SM))

    def set_clock_hertz(self) -> int | None:
        """Clock of the multiprocessors that is set for applications."""
        return _hertz(self._ask("nvmlDeviceGetApplicationsClock", self.library.NVML_CLOCK_SM))

    def persistence_mode(self) -> bool | None:
        """Whether the driver stays loaded between processes."""
        mode = self._ask("nvmlDeviceGetPersistenceMode")
        return None if mode is None else bool(mode)

    def mig_mode(self) -> bool | None:
        """Whether the GPU is divided into instances; None on cards that cannot be."""
        if self.uuid is not None and self.uuid.startswith("MIG-"):
            return True
        modes = self._ask("nvmlDeviceGetMigMode")
        return None if modes is None else bool(modes[0])

    def driver_version(self) -> str | None:
        """Of the NVIDIA driver."""
        return self._try("nvmlSystemGetDriverVersion")

    def opened(self) -> "Gpu":
        """This GPU with what is on it now noted as earlier than this process's own work."""
        earlier = frozenset(process.pid for process in self._processes())
        uuid = self._ask("nvmlDeviceGetUUID")
        return replace(self, uuid=uuid, earlier_processes=earlier, earlier_used_bytes=self._used_bytes())

    def _ask(self, call: str, *arguments: object) -> Any:
        return self._try(call, self.handle, *arguments)

    def _ask_either(self, new: str, old: str, *arguments: object) -> Any:
        """By the newer name of a call, or by the one before it, which drivers drop in the end."""
        answer = self._ask(new, *arguments)
        return self._ask(old, *arguments) if answer is None else answer

    def _try(self, call: str, *arguments: object) -> Any:
        nvml = self.library
        # Of these two an older `nvidia-ml-py` raises the first, and a newer one above an older driver the second.
        unknown = (AttributeError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError))
        try:
            return getattr(nvml, call)(*arguments)
        except (nvml.NVMLError, *unknown):
            return None

    def _throttle_bits(self) -> int | None:
        return self._ask_either("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")

    def _processes(self) -> list[Any]:
        return self._ask("nvmlDeviceGetComputeRunningProcesses") or []

    def _used_bytes(self) -> int | None:
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        return None if memory is None else memory.used

    def _count_foreign(self) -> int | None:
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if listed is None:
            return None
        return count_foreign(frozenset(each.pid for each in listed), self.earlier_processes, os.getpid())


def count_foreign(now: frozenset[int], earlier: frozenset[int], own: int) -> int:
    """How many of the processes on a GPU are not this one.

    Args:
        now: process numbers that the driver lists, in its own counting, which in a container is not this process's.
        earlier: those it listed before this process used the GPU.
        own: number of this process, in its own counting.
    """
    if own in now:
        return len(now) - 1
    began_since = now - earlier
    return len(now) - bool(began_since)  # one of those that began since is this process under another number


def name_reasons(bits: int) -> tuple[str, ...]:
    """Throttle reasons in words."""
    return tuple(word for bit, word in THROTTLE_REASONS.items() if bits & bit)


def open_gpu(uuid: str | None = None, library: Any = None) -> Gpu | str:
    """The GPU, or the part of one, that CUDA calls device 0 in this process, or in words why there is no NVML.

    Args:
        uuid: of the device as CUDA tells it; None before CUDA has started: the first of `CUDA_VISIBLE_DEVICES`.
        library: in place of `pynvml`.
    """
    if library is None:
        try:
            import pynvml as library  # noqa: PLC0415 - only where a GPU is asked for
        except ImportError:
            return "nvidia-ml-py is not installed"
    try:
        library.nvmlInit()
        handle = _find_handle(library, uuid, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    except library.NVMLError as error:
        return f"NVML: {error}"
    return Gpu(library=library, handle=handle).opened()


def _find_handle(library: Any, uuid: str | None, visible: str) -> Any:
    first = visible.partition(",")[0].strip()
    names = [f"GPU-{uuid}", f"MIG-{uuid}"] if uuid else []
    if first.startswith("MIG-"):  # CUDA may tell a part by the name of the whole
        names.insert(0, first)
    elif first.startswith("GPU-"):
        names.append(first)
    for name in names:
        try:
            return library.nvmlDeviceGetHandleByUUID(name)
        except library.NVMLError:
            continue
    return library.nvmlDeviceGetHandleByIndex(int(first) if first.isdecimal() else 0)


def _hertz(megahertz: int | None) -> int | None:
    return None if megahertz is None else megahertz * MEGA
