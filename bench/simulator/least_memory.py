"""The least memory with which a recorded training still runs: the number InfoPro's tables print. Imports no torch.

**Definition.** The smallest limit of the allocator's segments, in steps of 2 MiB, with which every event of the stream
is served; the stream is that of building the network and of three steps. The limit is what `peakbench simulate --limit`
sets, and `torch.cuda.set_per_process_memory_fraction` on a device: the CUDA context is not in it. Segments are whole
multiples of 2 MiB, so no limit between two steps behaves differently from the lower one.

A larger limit may fail where a smaller one runs, since the allocator then returns its cache at other moments. So the
search does not stop at bisection. What one replay refused and what it allowed say for which other limits it would have
gone exactly the same way: upwards to the least amount it refused, downwards to the most it allowed. Every step between
the lower bound and the answer is covered by such a stretch of a replay that failed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench.simulator.allocator import SMALL_SEGMENT_BYTES, CachingAllocator, OutOfMemoryError, Settings, round_size
from bench.simulator.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One replay, and the limits with which every decision of the allocator would have been the same."""

    runs: bool
    lowest: int
    """Most bytes of segments that were asked for and allowed."""
    next: int
    """Least bytes of segments that were refused; limits below this and from `lowest` on make no difference."""


def find_least_memory(stream: Stream, settings: Settings) -> int | None:
    """Least limit in bytes with which a whole stream is served; see the definition above.

    Complexity: a replay for every step of the bisection, and one for every way to fail above the lower bound; a stream
    of 10,000 events replays in some 25 ms.

    Args:
        stream: the events.
        settings: of the allocator; their own limit is left out of account.

    Returns:
        None where no memory of the device is enough, or where old segments are returned by a share of the limit
        (`garbage_collection_threshold`), which makes every byte of the limit count.
    """
    if settings.garbage_collection_threshold > 0:
        return None
    trials: dict[int, _Trial] = {}

    def attempt(limit: int) -> _Trial:
        if limit not in trials:
            trials[limit] = _replay(stream, replace(settings, limit_bytes=limit))
        return trials[limit]

    unlimited = attempt(settings.device_bytes)
    if not unlimited.runs:
        return None
    low, best = _lower_bound(stream, settings), unlimited.lowest
    bottom = low
    while low < best:
        middle = (low + best) // 2 // SMALL_SEGMENT_BYTES * SMALL_SEGMENT_BYTES
        trial = attempt(middle)
        low, best = (low, trial.lowest) if trial.runs else (trial.next, best)
    limit = bottom
    while limit < best:
        trial = attempt(limit)
        if trial.runs:
            return trial.lowest
        limit = trial.next
    return best


def find_least_memory_of_all(streams: Iterable[Stream], settings: Settings) -> int | None:
    """Least limit with which each of several streams is served by itself, such as those of a method's rounds.

    Returns:
        None where one of them has none.
    """
    found = [find_least_memory(stream, settings) for stream in streams]
    known = [limit for limit in found if limit is not None]
    return max(known) if len(known) == len(found) else None


def _lower_bound(stream: Stream, settings: Settings) -> int:
    """No limit below this serves the stream: its largest sum of rounded requests alive at once."""
    alive = highest = 0
    for event in stream.events:
        size = round_size(event.bytes, settings.roundup_power2_divisions)
        alive += size if event.action == "alloc" else -size
        highest = max(highest, alive)
    return -(-highest // SMALL_SEGMENT_BYTES) * SMALL_SEGMENT_BYTES


def _replay(stream: Stream, settings: Settings) -> _Trial:
    allocator = CachingAllocator(settings)
    runs = True
    try:
        for event in stream.events:
            if event.action == "alloc":
                allocator.allocate(event.storage, event.bytes)
            else:
                allocator.free(event.storage)
    except OutOfMemoryError:
        runs = False
    return _Trial(runs=runs, lowest=allocator.most_granted, next=allocator.least_refused)
