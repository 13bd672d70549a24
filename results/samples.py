"""What readings are made of where a number is not enough: each is a struct inside a column of the Parquet file.

As in the record, a field says its unit in its name, and `None` means not told, never zero.
"""

from dataclasses import dataclass
from typing import Literal

Side = Literal["method", "e2e"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Bytes alive at the peak that are of one kind and one local module."""

    category: str
    """Such as `activations`; the simulator's word."""
    module: int | None
    """Local module, from 0; None outside of modules."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What a GPU says of itself at one moment."""

    sm_clock_hertz: int | None = None
    """Of the multiprocessors, now."""
    memory_clock_hertz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    """Why the clocks are held down, in NVML's words; empty where they are not."""
    foreign_process_count: int | None = None
    """Other processes that compute on the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Steps of one side, run back to back: an A or a B of ABBA."""

    side: Side
    step_count: int
    wall_seconds: float
    """From before the first step to the end of the synchronise behind the last."""
    energy_joules: float | None = None
    """What the GPU used meanwhile, by its own counter."""
    before: DeviceState | None = None
    after: DeviceState | None = None
    flags: tuple[str, ...] = ()
    """Why the block is suspicious."""
    kept: bool = True
    """False: its steps are not among the samples, because the ABBA it belongs to was run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One process that trained under a limit of the allocator."""

    limit_bytes: int | None
    """Most bytes of segments; None: no limit."""
    status: str
    """Outcome, as of a row: `ok` where all steps ran."""
    retry_count: int | None = None
    """How often the allocator gave memory back to the device to serve a request."""
    step_seconds: tuple[float, ...] | None = None
    """Of its steady steps, synchronised one by one."""
    message: str | None = None
    """Why it did not train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of a case's process."""

    name: str
    seconds: float
