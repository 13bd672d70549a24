"""From a stream of events to peaks. Imports no torch.

Knows: the rounding of the CUDA caching allocator, which hands out blocks of 512 bytes.
Does not know: remainders that the allocator does not split off (up to 0.6 % of the allocated peak seen) and segments,
hence no reserved peak.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Event:
    """A storage is born or dies."""

    action: Literal["alloc", "free"]
    storage: int
    """Number of the storage, unique within a stream."""
    bytes: int
    """Size of the storage, before any rounding."""
    phase: str
    """What was under way, in words."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest point of a stretch of the stream."""

    requested_bytes: int
    """Highest sum of storage sizes."""
    allocated_bytes: int
    """Highest sum of storage sizes rounded to blocks."""
    phase: str
    """What was under way at the allocated peak."""


def round_to_blocks(size: int) -> int:
    """Bytes of the blocks that hold `size` bytes; 0 for 0."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def find_peaks(events: Iterable[Event], starts: list[int]) -> list[Peak]:
    """Peak of every stretch of a stream.

    Args:
        events: the whole stream, so that what is alive when a stretch starts counts.
        starts: index of the first event of each stretch, ascending; the last stretch ends with the stream.
    """
    stream = list(events)
    requested = allocated = 0
    peaks = []
    for start, end in pairwise([0, *starts, len(stream)]):
        highest_requested, highest_allocated, phase = requested, allocated, ""
        for event in stream[start:end]:
            sign = 1 if event.action == "alloc" else -1
            requested += sign * event.bytes
            allocated += sign * round_to_blocks(event.bytes)
            highest_requested = max(highest_requested, requested)
            if allocated > highest_allocated:
                highest_allocated, phase = allocated, event.phase
        peaks.append(Peak(highest_requested, highest_allocated, phase))
    return peaks[1:]
