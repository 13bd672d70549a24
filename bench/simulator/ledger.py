"""What a stream of events means for memory: every event through the allocator, the peaks, and what holds them.

Imports no torch.
"""

from collections import Counter
from dataclasses import dataclass

from bench.simulator.allocator import CachingAllocator, Effort, OutOfMemoryError, Settings
from bench.simulator.stream import Category, Place, Stream, categorise


@dataclass(frozen=True, slots=True)
class Retry:
    """A request that was served only after memory went back to the device."""

    event: int
    """Index of the event."""
    efforts: tuple[Effort, ...]
    """What was tried, in order; the last one helped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Bytes after every event of a stream."""

    requested: list[int]
    allocated: list[int]
    reserved: list[int]
    blocks: dict[int, int]
    """Storage -> bytes of the block that held it."""
    retries: list[Retry]
    """Requests that were served only after memory went back to the device."""
    failed: int | None = None
    """Event that found no memory; the ledger ends before it."""
    last_efforts: tuple[Effort, ...] = ()
    """What was tried in vain for that event, in order."""
    message: str | None = None
    """What the allocator said then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The highest points of one training step."""

    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    event: int
    """Index of the first event at which the allocated bytes are highest."""
    place: Place
    """Where that is."""
    operator: str
    """The operator that ran."""


def replay(stream: Stream, settings: Settings) -> Ledger:
    """Serve a whole stream by an allocator of these settings."""
    allocator = CachingAllocator(settings)
    requested, allocated, reserved = [], [], []
    retries: list[Retry] = []
    blocks: dict[int, int] = {}
    for index, event in enumerate(stream.events):
        if event.action == "free":
            allocator.free(event.storage)
        else:
            try:
                blocks[event.storage] = allocator.allocate(event.storage, event.bytes)
            except OutOfMemoryError as error:
                return Ledger(
                    requested=requested, allocated=allocated, reserved=reserved, blocks=blocks, retries=retries,
                    failed=index, message=str(error), last_efforts=tuple(allocator.efforts),
                )  # fmt: skip
            if allocator.efforts:
                retries.append(Retry(index, tuple(allocator.efforts)))
                allocator.efforts.clear()
        requested.append(allocator.requested)
        allocated.append(allocator.allocated)
        reserved.append(allocator.reserved)
    return Ledger(requested=requested, allocated=allocated, reserved=reserved, blocks=blocks, retries=retries)


def find_peak(stream: Stream, ledger: Ledger, step: int) -> Peak | None:
    """Peaks of a step; what is alive when it starts counts.

    Args:
        stream: the events.
        ledger: their replay.
        step: number of the step, from 0.

    Returns:
        None where memory ran out before the step began.
    """
    events = stream.step_events(step)
    window = slice(max(events.start - 1, 0), events.stop)
    allocated = ledger.allocated[window]
    if not allocated:
        return None
    highest = max(allocated)
    event = window.start + allocated.index(highest)
    return Peak(
        requested_bytes=max(ledger.requested[window]),
        allocated_bytes=highest,
        reserved_bytes=max(ledger.reserved[window]),
        event=event,
        place=stream.events[event].place,
        operator=stream.events[event].operator,
    )


def holders(stream: Stream, ledger: Ledger, event: int) -> Counter[tuple[Category, int | None, str | None]]:
    """Allocated bytes alive after an event, by category, local module and unit of birth; they sum to the total."""
    categories = categorise(stream)
    alive: dict[int, tuple[Category, int | None, str | None]] = {}
    for happened in stream.events[: event + 1]:
        if happened.action == "free":
            del alive[happened.storage]
        else:
            place = happened.place
            alive[happened.storage] = (categories[happened.storage], place.module, place.unit)
    held: Counter[tuple[Category, int | None, str | None]] = Counter()
    for storage, owner in alive.items():
        held[owner] += ledger.blocks[storage]
    return held


def by_category(stream: Stream, ledger: Ledger, events: range) -> list[dict[Category, int]]:
    """Allocated bytes by category after each of these events."""
    categories = categorise(stream)
    held: Counter[Category] = Counter()
    rows: list[dict[Category, int]] = []
    for index, event in enumerate(stream.events[: min(events.stop, len(ledger.allocated))]):
        size = ledger.blocks[event.storage]
        held[categories[event.storage]] += size if event.action == "alloc" else -size
        if index >= events.start:
            rows.append(dict(held))
    return rows
