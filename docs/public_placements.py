"""Where real GPUs' allocators placed every block, as others published it, beside where the allocator's model does.

`results/reference/public/README.md` says where the snapshots are from and how they were packed. A snapshot tells the
address of every block and segment. The model is brought into the state in which the recording begins, is given the
recorded addresses of new segments - the driver's to choose - and must then place every block at the recorded one.
"""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.simulator.allocator import (
    BLOCK_BYTES,
    LARGE_SEGMENT_BYTES,
    OWN_SEGMENT_BYTES,
    SMALL_BYTES,
    SMALL_SEGMENT_BYTES,
    CachingAllocator,
    Settings,
)
from docs.tables import write_table
from reports.units import format_gib

FILE = Path(__file__).parents[1] / "results" / "reference" / "public" / "placements.json.gz"
FIRST_ALIVE = 10**9
"""Below the names of blocks that are alive at the start, above those of all that the events allocate."""


class PlacedAllocator(CachingAllocator):
    """The model, with segments at given addresses."""

    def __init__(self) -> None:
        super().__init__(Settings(ties_by_address=True))  # all recordings are of torch before 2.12
        self.segments: list[tuple[int, int]] = []
        """Address and bytes of those that are asked for next."""
        self.of_that_size = 0
        """Segments that were asked for in the size that is recorded."""

    def _place(self, size: int) -> int:
        address, recorded = self.segments.pop(0)
        self.of_that_size += size == recorded
        return address


@dataclass(frozen=True, slots=True)
class Placements:
    """What became of a recording."""

    allocations: int
    misplaced: tuple[int, ...]
    """Indices of events at which a block lies elsewhere than recorded."""
    segments_recorded: int
    segments_asked: int
    """By the model, of the same size."""
    reserved_bytes: int
    """Held by the model at the end."""


@cache
def read_recordings() -> dict[str, dict[str, Any]]:
    """By name: segments and blocks alive at the start, addresses of new segments, events; in units of 512 bytes."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


def replay(recording: dict[str, Any]) -> Placements:
    """Serve a recorded stream by the model."""
    allocator = PlacedAllocator()
    names: dict[int, int] = {}
    for address, size, alive in recording["segments"]:
        _fill(allocator, address * BLOCK_BYTES, size * BLOCK_BYTES, alive, names)
    for name in [name for name in names.values() if name < 0]:
        allocator.free(name)
    recorded = recording["new_segments"]
    allocator.segments = [(address * BLOCK_BYTES, size * BLOCK_BYTES) for address, size in recorded]
    allocator.of_that_size = 0
    misplaced, allocations = [], 0
    for index, event in enumerate(recording["events"]):
        match event:
            case [address, requested]:
                allocations += 1
                allocator.allocate(index + 1, requested)
                names[address] = index + 1
                if allocator.address_of(index + 1) != address * BLOCK_BYTES:
                    misplaced.append(index)
            case [address]:
                allocator.free(names.pop(address))
            case _:
                allocator.empty_cache()
    return Placements(allocations, tuple(misplaced), len(recorded), allocator.of_that_size, allocator.reserved)


def _fill(allocator: PlacedAllocator, start: int, size: int, alive: list[list[int]], names: dict[int, int]) -> None:
    """Have the model hold a segment with blocks in it: alive ones under positive names, gaps under negative ones."""
    allocator.segments = [(start, size)]
    most = SMALL_BYTES if size == SMALL_SEGMENT_BYTES else size
    if most > SMALL_BYTES:  # made whole, and free, so that the pieces behind are cut from it
        allocator.allocate(0, size if size != LARGE_SEGMENT_BYTES else OWN_SEGMENT_BYTES - BLOCK_BYTES)
        allocator.free(0)
    at = start
    for address, block in [*((a * BLOCK_BYTES, b * BLOCK_BYTES) for a, b in alive), (start + size, 0)]:
        while at < address:
            gap = min(address - at, most)
            name = -(at // BLOCK_BYTES) - 1
            names[name] = name
            allocator.allocate(name, gap)
            at += gap
        if block:
            name = FIRST_ALIVE + at // BLOCK_BYTES
            names[at // BLOCK_BYTES] = name
            allocator.allocate(name, block)
            at += block


def placements() -> str:
    """Every recording and what the model makes of it."""
    rows = []
    for name, recording in read_recordings().items():
        found = replay(recording)
        rows.append(
            [
                name,
                f"{found.allocations:,}",
                f"{found.allocations - len(found.misplaced):,}",
                f"{found.segments_recorded}",
                f"{found.segments_asked}",
                format_gib(recording["reserved_bytes"]),
                format_gib(found.reserved_bytes),
            ]
        )
    return write_table(
        ["recording", "blocks", "placed as recorded", "new segments", "asked for", "reserved GiB", "by the model"], rows
    )
