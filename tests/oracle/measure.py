"""What the measuring code reads through NVML, on the stand-ins for a device and its driver, machine by machine.

    tests/oracle/hollow/run.sh DIR tests/oracle/measure.py

`HOLLOW_NVML` says what the machine is like (`hollow/nvml.c`). Exits with 1 where a reading is another than expected.
"""

import os
import sys
import time
from typing import Any

import torch

from bench.environment import read_environment
from bench.passes.shared import open_device, read_process_memory
from bench.probes.machine import Cuda
from tests.oracle.compare import in_processes

MIB = 2**20
SEGMENT = 64 * MIB
CONTEXT = 500 * MIB
"""Of the stand-in."""
HELD = 2 * MIB + SEGMENT + CONTEXT
"""By a process: segments of small and of large blocks, and the context."""
WATTS, TICK_SECONDS = 400.0, 0.1
"""Of the stand-in's energy counter: how fast it rises, and how often it moves."""
PAUSE_SECONDS = 0.25
USUAL: dict[str, Any] = {
    "process": (HELD, "process", CONTEXT),
    "foreign": 0,
    "throttled": ("software power cap",),
    "clock": 1_755_000_000,
    "temperature": 61,
    "watts": WATTS,
    "joules": True,
    "default clock": 1_830_000_000,
    "set clock": 1_830_000_000,
    "divided": False,
    "driver": "580.00.00",
}
OF_THE_DEVICE = {"process": (HELD, "device", CONTEXT)}
NOTHING = dict.fromkeys(USUAL)
WHOLE_CARDS_ALONE = ("throttled", "clock", "temperature", "watts", "joules", "default clock", "set clock")
EXPECTED: dict[str, dict[str, Any]] = {
    "": USUAL,
    "second": USUAL,
    "hidden": USUAL | OF_THE_DEVICE,
    "translated": USUAL | OF_THE_DEVICE,
    "elsewhere": USUAL | OF_THE_DEVICE,
    "hidden second": USUAL | {"process": None},
    "foreign": USUAL | {"foreign": 1},
    "foreign elsewhere": USUAL | OF_THE_DEVICE | {"foreign": 1},
    "throttled": USUAL | {"throttled": ("software power cap", "hardware thermal slowdown")},
    "slow": USUAL | {"clock": 900_000_000},
    "geforce": USUAL | {"joules": False, "default clock": 1_980_000_000, "set clock": None, "divided": None},
    "deprecated": USUAL | {"default clock": 1_980_000_000, "set clock": None},
    "mig": USUAL | dict.fromkeys(WHOLE_CARDS_ALONE) | {"joules": False, "divided": True},
    "mute": NOTHING | {"joules": False, "driver": "580.00.00"},
    "absent": NOTHING,
}
"""What is read, by what the machine is like. Another card, looked at before, tells nothing of this one's growth."""


def read(words: str) -> dict[str, Any]:
    """Everything that NVML has a say in, of a process with one tensor."""
    os.environ["HOLLOW_NVML"] = words
    if words == "mig":
        os.environ["CUDA_VISIBLE_DEVICES"] = "MIG-22222222-2222-2222-2222-222222222222"
    device = torch.device("cuda", 0)
    gpu = open_device(device)
    kept = torch.empty(SEGMENT, dtype=torch.uint8, device=device)
    machine, environment = Cuda(device, gpu), read_environment(device)
    state, joules = machine.state(), gpu and _counts_energy(machine)
    del kept
    return {
        "process": read_process_memory(gpu, device),
        "foreign": state and state.foreign_process_count,
        "throttled": state and state.throttle_reasons,
        "clock": state and state.sm_clock_hertz,
        "temperature": state and state.temperature_celsius,
        "watts": state and state.power_watts,
        "joules": joules,
        "default clock": environment.default_clock_hertz,
        "set clock": environment.set_clock_hertz,
        "divided": environment.mig_mode,
        "driver": environment.driver_version,
    }


def _counts_energy(machine: Cuda) -> bool:
    """Whether the counter rises as it should, however long this process was kept waiting meanwhile."""
    start = time.monotonic()
    before = machine.energy_joules()
    time.sleep(PAUSE_SECONDS)
    after = machine.energy_joules()
    seconds = time.monotonic() - start
    if before is None or after is None:
        return False
    return WATTS * (PAUSE_SECONDS - TICK_SECONDS) <= after - before <= WATTS * (seconds + TICK_SECONDS)


def main() -> int:
    """Try every machine; the exit code."""
    failed = 0
    for words, found in in_processes(read, list(EXPECTED)):
        wrong = {name: (found[name], value) for name, value in EXPECTED[words].items() if found[name] != value}
        failed += bool(wrong)
        print(f"{words or 'a card'}: {f'DIFFERENT (read, expected) {wrong}' if wrong else 'as expected'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
