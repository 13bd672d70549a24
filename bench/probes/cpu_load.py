"""How much of the machine's CPU others used while something was measured.

Sees: time of all cores as the kernel counts it, less that of this process; in a container that is the whole machine's.
Does not see: what others do to caches, memory bandwidth and clocks.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

BUSY = 0.1
"""Share of all cores in use by others from which a row is flagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """What was used up to a moment, in seconds of one core."""

    wall_seconds: float
    all_seconds: float
    """Of all processes, and what the host of a virtual machine took."""
    own_seconds: float


def read_cpu_times() -> CpuTimes:
    """As the kernel tells now."""
    own = os.times()
    # Ticks: user, nice, system, idle, iowait, irq, softirq, steal; guests that follow are in user and nice already.
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return CpuTimes(
        wall_seconds=time.monotonic(),
        all_seconds=(sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK"),
        own_seconds=own.user + own.system + own.children_user + own.children_system,
    )


def share_of_others(before: CpuTimes, after: CpuTimes, core_count: int) -> float | None:
    """Share of the machine's cores that others used between two moments, from 0 to 1; None where no time passed."""
    wall = after.wall_seconds - before.wall_seconds
    if wall <= 0:
        return None
    others = (after.all_seconds - before.all_seconds) - (after.own_seconds - before.own_seconds)
    return min(max(others / (wall * core_count), 0.0), 1.0)
