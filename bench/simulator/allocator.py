"""A model of torch's CUDA caching allocator: native backend, one stream. Imports no torch.

Requests go to the smallest free block that is large enough, taken from segments that the device hands out; what is left
of a block is split off, freed neighbours merge. Every rule and constant is that of `c10/cuda/CUDACachingAllocator.cpp`.
"""

import math
import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

MIB = 2**20
BLOCK_BYTES = 512
SMALL_BYTES = MIB
"""Largest request that goes to the pool of small blocks."""
SMALL_SEGMENT_BYTES = 2 * MIB
LARGE_SEGMENT_BYTES = 20 * MIB
"""Segment for requests above SMALL_BYTES and below OWN_SEGMENT_BYTES; also the page of expandable large segments."""
OWN_SEGMENT_BYTES = 10 * MIB
"""From here a request gets a segment of its own size, rounded to SMALL_SEGMENT_BYTES."""
UNLIMITED = 2**62


class AllocatorSettingError(ValueError):
    """An allocator setting that does not exist or has no such value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `PYTORCH_ALLOC_CONF` and the device decide."""

    device_bytes: int = 2**40
    """Memory of the device."""
    limit_bytes: int = UNLIMITED
    """Most bytes of segments, where a limit is set for the process."""
    expandable_segments: bool = False
    max_split_bytes: int = UNLIMITED
    """Blocks of this size or more are never split."""
    max_non_split_rounding_bytes: int = LARGE_SEGMENT_BYTES
    """How much larger than its request an unsplit oversize block may be."""
    roundup_power2_divisions: int = 0
    """Steps between powers of two that sizes are rounded up to, a power of two itself; 0 or 1: none."""
    garbage_collection_threshold: float = 0.0
    """Fraction of the limit above which old free segments are returned; works only with a limit."""
    ties_by_address: bool = False
    """Free blocks of equal size are taken by address (before torch 2.12), not by age and address."""
    ties_by_block: bool = False
    """The age that decides is that of the block itself (torch 2.12), not that of its segment."""


def parse_settings(text: str, **fixed: object) -> Settings:
    """Read a value of `PYTORCH_ALLOC_CONF`, such as `expandable_segments:True,max_split_size_mb:128`.

    Args:
        text: settings separated by commas, of which the last of a name counts; empty for the defaults.
        fixed: further fields of `Settings`.

    Raises:
        AllocatorSettingError: an unknown setting, or a value that torch rejects; says what there is.
    """
    values: dict[str, object] = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        name, colon, written = (part.strip() for part in item.partition(":"))
        if name not in _READERS:
            raise AllocatorSettingError(f"unknown allocator setting '{item}'; there are {', '.join(_READERS)}")
        target, read, choice = _READERS[name]
        if not colon:
            raise AllocatorSettingError(f"allocator setting '{name}' has no value; write {name}: and {choice}")
        value = read(written)
        if value is None:
            raise AllocatorSettingError(f"allocator setting {name} cannot be '{written}'; it is {choice}")
        values[target] = value
    return Settings(**{**values, **fixed})  # pyright: ignore[reportArgumentType]


def _read_switch(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def _read_mebibytes(text: str) -> int | None:
    size = int(text) * MIB if re.fullmatch("[0-9]{1,9}", text) else 0
    return size if size >= LARGE_SEGMENT_BYTES else None


def _read_divisions(text: str) -> int | None:
    divisions = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    return divisions if divisions.bit_count() == 1 else None


def _read_fraction(text: str) -> float | None:
    fraction = float(text) if re.fullmatch(r"0?\.[0-9]+", text) else 0.0
    return fraction if 0 < fraction < 1 else None


_READERS: dict[str, tuple[str, Callable[[str], object], str]] = {
    "expandable_segments": ("expandable_segments", _read_switch, "True or False"),
    "max_split_size_mb": ("max_split_bytes", _read_mebibytes, "a whole number from 20"),
    "max_non_split_rounding_mb": ("max_non_split_rounding_bytes", _read_mebibytes, "a whole number from 20"),
    "roundup_power2_divisions": ("roundup_power2_divisions", _read_divisions, "a power of two"),
    "garbage_collection_threshold": ("garbage_collection_threshold", _read_fraction, "a number between 0 and 1"),
}
"""Name of each setting: field, reader that gives None where torch rejects the value, what there is."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Something the allocator did to find memory for a request."""

    action: str
    """`collecting garbage`, `releasing oversize blocks` or `emptying the cache`, in the order they are tried."""
    returned_bytes: int
    """Bytes of segments that went back to the device."""


class OutOfMemoryError(MemoryError):
    """The allocator could not serve a request after everything it tries."""


@dataclass(slots=True, eq=False)
class _Block:
    """A stretch of a segment."""

    address: int
    size: int
    age: int
    """Number of the segment in the order they were made, or of the block, which `_renew` gives."""
    small: bool
    expandable: bool = False
    mapped: bool = True
    allocated: bool = False
    requested: int = 0
    previous: "_Block | None" = None
    next: "_Block | None" = None
    searches_before: int = 0
    """Searches of its pool before it became free."""
    origin: int = 0
    """Address of its expandable segment."""

    @property
    def is_split(self) -> bool:
        return self.previous is not None or self.next is not None


@dataclass(slots=True)
class _Pool:
    """Free blocks of one kind, ordered for best fit, and the unmapped ends of expandable segments by address."""

    small: bool
    free: list[tuple[int, int, int, _Block]] = field(default_factory=list)
    unmapped: list[tuple[int, _Block]] = field(default_factory=list)
    searches: int = 0


class CachingAllocator:
    """Serves requests by name; `requested`, `allocated` and `reserved` are current bytes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requested = 0
        self.allocated = 0
        self.reserved = 0
        self.retries = 0
        """How often all cached segments had to be returned to serve a request (`num_alloc_retries`)."""
        self.efforts: list[Effort] = []
        """What was returned to serve requests since this list was last cleared."""
        self.most_granted = 0
        """Most bytes of segments that the limit was asked for and allowed; expandable ones may come to hold more."""
        self.least_refused = UNLIMITED
        """Least bytes of segments that the limit was asked for and did not allow."""
        self._blocks: dict[int, _Block] = {}
        self._pools = {small: _Pool(small) for small in (True, False)}
        self._segments = count()
        self._next_address = 0
        self._holes: dict[int, deque[int]] = {}

    def allocate(self, name: int, size: int) -> int:
        """Serve a request of `size` bytes; a request of 0 bytes holds nothing.

        Returns:
            Bytes of the block that serves it.

        Raises:
            OutOfMemoryError: nothing helped; the state is that after all cached segments were returned.
            ValueError: the name is held already.
        """
        if name in self._blocks:
            raise ValueError(f"request {name} is held already; free it before its name serves again")
        if size == 0:
            return 0
        rounded = round_size(size, self.settings.roundup_power2_divisions)
        pool = self._pools[rounded <= SMALL_BYTES]
        block = self._take_free(pool, rounded) or self._grow(pool, rounded)
        if block is None:
            raise OutOfMemoryError(
                f"{size} bytes asked for, {self.allocated} allocated, {self.reserved} reserved, "
                f"limit {min(self.settings.limit_bytes, self.settings.device_bytes)}"
            )
        if self._should_split(block, rounded):
            self._insert(pool, _cut(block, rounded))
            self._renew(block)
        block.allocated, block.requested = True, size
        self._blocks[name] = block
        self.allocated += block.size
        self.requested += size
        return block.size

    def free(self, name: int) -> None:
        """Take a request back; unknown names held nothing."""
        block = self._blocks.pop(name, None)
        if block is None:
            return
        self.allocated -= block.size
        self.requested -= block.requested
        block.allocated, block.requested = False, 0
        pool = self._pools[block.small]
        self._merge(pool, block)
        self._insert(pool, block)

    def address_of(self, name: int) -> int:
        """Address of the block that serves a request, in bytes.

        Raises:
            KeyError: the name is not held.
        """
        return self._blocks[name].address

    def empty_cache(self) -> None:
        """Return every free segment to the device."""
        for small in (False, True):
            self._release_pool(self._pools[small])

    # --- finding a block ----------------------------------------------------------------------------------------------

    def _take_free(self, pool: _Pool, size: int) -> _Block | None:
        """Best fit among the free blocks of a pool."""
        pool.searches += 1
        place = bisect_left(pool.free, (size, -1, -1), key=_first_three)
        if place == len(pool.free):
            return None
        block = pool.free[place][3]
        if block.expandable:
            # A block at the end of an expandable segment counts with the room it can grow into.
            while place + 1 < len(pool.free) and _room(pool.free[place + 1][3]) < _room(pool.free[place][3]):
                place += 1
            block = pool.free[place][3]
        limit = self.settings.max_split_bytes
        if size < limit <= block.size:
            return None
        if size >= limit and block.size >= size + self.settings.max_non_split_rounding_bytes:
            return None
        del pool.free[place]
        return block

    def _grow(self, pool: _Pool, size: int) -> _Block | None:
        """New memory from the device, returning cached memory first where that is needed."""
        if self.settings.limit_bytes < UNLIMITED and self.settings.garbage_collection_threshold > 0:
            before = self.reserved
            self._collect_garbage()
            if self.reserved < before:
                self.efforts.append(Effort("collecting garbage", before - self.reserved))
        block = self._ask_device(pool, size)
        if block is None and self.settings.max_split_bytes < UNLIMITED:
            before = self.reserved
            enough = self._release_oversize(pool, size)
            self.efforts.append(Effort("releasing oversize blocks", before - self.reserved))
            block = self._ask_device(pool, size) if enough else None
        if block is None:
            before = self.reserved
            self.empty_cache()
            self.efforts.append(Effort("emptying the cache", before - self.reserved))
            self.retries += 1
            block = self._ask_device(pool, size)
        return block

    def _ask_device(self, pool: _Pool, size: int) -> _Block | None:
        segment = segment_size(size)
        wanted = self.reserved + segment
        if wanted > self.settings.limit_bytes:
            self.least_refused = min(self.least_refused, wanted)
            return None
        self.most_granted = max(self.most_granted, wanted)
        if self.settings.expandable_segments:
            return self._extend(pool, size)
        if self.reserved + segment > self.settings.device_bytes:
            return None
        self.reserved += segment
        return _Block(self._place(segment), segment, next(self._segments), pool.small)

    def _place(self, size: int) -> int:
        """Address of a new segment: what was returned first of this very size, or the end.

        Real devices may choose otherwise; it matters to `ties_by_address` alone.
        """
        holes = self._holes.get(size)
        if holes:
            return holes.popleft()
        self._next_address += size
        return self._next_address - size

    # --- splitting and returning --------------------------------------------------------------------------------------

    def _should_split(self, block: _Block, size: int) -> bool:
        rest = block.size - size
        if block.small or self.settings.expandable_segments:
            return rest >= BLOCK_BYTES
        return size < self.settings.max_split_bytes and rest > SMALL_BYTES

    def _release_oversize(self, pool: _Pool, size: int) -> bool:
        """Return oversize blocks until `size` bytes could be had."""
        limit = self.settings.max_split_bytes
        wanted = max(size, limit)
        place = bisect_left(pool.free, (wanted, -1, -1), key=_first_three)
        if place < len(pool.free) and not pool.free[place][3].expandable:
            self._release(pool, pool.free[place][3])
            return True
        released = 0
        for *_, block in reversed(pool.free[:place]):
            if released >= wanted or block.size < limit:
                break
            if not block.expandable:
                released += block.size
                self._release(pool, block)
        return released >= wanted

    def _collect_garbage(self) -> None:
        """Return free segments that were not reused for longer than the average, until below the threshold."""
        pool = self._pools[False]
        target = self.reserved - int(self.settings.garbage_collection_threshold * self.settings.limit_bytes)
        whole = [block for *_, block in pool.free if not block.is_split and not block.expandable]
        reclaimed = 0
        while reclaimed < target and whole:
            ages = [pool.searches - block.searches_before for block in whole]
            average = sum(ages) / len(ages)
            old = [block for block, age in zip(whole, ages, strict=True) if age >= average]
            for block in old:
                reclaimed += block.size
                self._release(pool, block)
            whole = [block for block in whole if block not in old]

    def _release_pool(self, pool: _Pool) -> None:
        for *_, block in list(pool.free):
            if block.expandable:
                self._unmap(pool, block)
            elif not block.is_split:
                self._release(pool, block)

    def _release(self, pool: _Pool, block: _Block) -> None:
        self._remove(pool, block)
        self.reserved -= block.size
        self._holes.setdefault(block.size, deque()).append(block.address)

    # --- expandable segments ------------------------------------------------------------------------------------------

    def _extend(self, pool: _Pool, size: int) -> _Block | None:
        """Map pages at the lowest place with room for `size` bytes."""
        block = self._find_room(pool, size)
        if not block.mapped and not self._map(pool, block, min(block.size, size)):
            return None
        while block.size < size:
            end = block.next
            if end is None or not self._map(pool, end, min(size - block.size, end.size)):
                return None
            block = end
        self._remove(pool, block)
        return block

    def _find_room(self, pool: _Pool, size: int) -> _Block:
        """An unmapped end with the free block before it, or a new range of addresses."""
        for _, end in pool.unmapped:
            start = end.previous if end.previous is not None and not end.previous.allocated else end
            room, block = 0, start
            while block is not None and not block.allocated and room < size:
                room += block.size
                block = block.next
            if room >= size:
                return start
        page = _page(pool)
        length = math.ceil(self.settings.device_bytes * 9 / 8 / page) * page
        block = _Block(self._place(length), length, next(self._segments), pool.small, expandable=True, mapped=False)
        block.origin = block.address
        insort(pool.unmapped, (block.address, block), key=_first)
        return block

    def _map(self, pool: _Pool, block: _Block, size: int) -> bool:
        """Turn the first `size` bytes of an unmapped block into whole pages, merged with free neighbours."""
        size = min(math.ceil(size / _page(pool)) * _page(pool), block.size)
        # The limit was checked against the request, before it was rounded to pages.
        if self.reserved + size > self.settings.device_bytes:
            return False
        pool.unmapped.remove((block.address, block))
        if size < block.size:
            rest = _cut(block, size)
            self._renew(rest)
            insort(pool.unmapped, (rest.address, rest), key=_first)
        block.mapped = True
        self.reserved += size
        self._merge(pool, block)
        self._insert(pool, block)
        return True

    def _unmap(self, pool: _Pool, block: _Block) -> None:
        """Return the whole pages inside a free block; what sticks out on either side stays free."""
        page, offset = _page(pool), block.address - block.origin
        before = -offset % page
        pages = (block.size - before) // page * page
        if pages <= 0:
            return
        self._remove(pool, block)
        if before:
            middle = _cut(block, before)
            self._renew(block)
            self._insert(pool, block)
            block = middle
        if block.size > pages:
            rest = _cut(block, pages)
            self._renew(rest)
            self._insert(pool, rest)
        block.mapped = False
        self.reserved -= pages
        for neighbour in (block.previous, block.next):
            if neighbour is not None and not neighbour.mapped:
                pool.unmapped.remove((neighbour.address, neighbour))
                _absorb(block, neighbour)
        # A segment without pages is given up; the next one has new addresses.
        if block.is_split:
            insort(pool.unmapped, (block.address, block), key=_first)

    def _renew(self, block: _Block) -> None:
        """Note that splitting made this block; the other part is the old one."""
        if self.settings.ties_by_block:
            block.age = next(self._segments)

    # --- lists of free blocks -----------------------------------------------------------------------------------------

    def _key(self, block: _Block) -> tuple[int, int, int]:
        return (block.size, 0 if self.settings.ties_by_address else block.age, block.address)

    def _insert(self, pool: _Pool, block: _Block) -> None:
        block.searches_before = pool.searches
        insort(pool.free, (*self._key(block), block), key=_first_three)

    def _remove(self, pool: _Pool, block: _Block) -> None:
        del pool.free[bisect_left(pool.free, self._key(block), key=_first_three)]

    def _merge(self, pool: _Pool, block: _Block) -> None:
        for neighbour in (block.previous, block.next):
            if neighbour is not None and not neighbour.allocated and neighbour.mapped:
                self._remove(pool, neighbour)
                _absorb(block, neighbour)


def round_size(size: int, divisions: int = 0) -> int:
    """Bytes of the block for a request: a multiple of 512, or the next of `divisions` steps between powers of two."""
    if divisions > 1 and size > BLOCK_BYTES * divisions:
        power = 1 << (size.bit_length() - 1)
        step = power // divisions
        return size if size == power else power + math.ceil((size - power) / step) * step
    return max(BLOCK_BYTES, -(-size // BLOCK_BYTES) * BLOCK_BYTES)


def segment_size(size: int) -> int:
    """Bytes of the segment made for a block of `size` bytes."""
    if size <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if size < OWN_SEGMENT_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-size // SMALL_SEGMENT_BYTES) * SMALL_SEGMENT_BYTES


def _page(pool: _Pool) -> int:
    return SMALL_SEGMENT_BYTES if pool.small else LARGE_SEGMENT_BYTES


def _room(block: _Block) -> int:
    """Size of a block of an expandable segment with the unmapped room behind it."""
    return block.size + (block.next.size if block.next is not None and not block.next.mapped else 0)


def _cut(block: _Block, size: int) -> _Block:
    """Shorten a block to `size` bytes; return the rest, linked behind it."""
    rest = _Block(
        block.address + size, block.size - size, block.age, block.small, block.expandable, block.mapped,
        previous=block, next=block.next, searches_before=block.searches_before, origin=block.origin,
    )  # fmt: skip
    if rest.next is not None:
        rest.next.previous = rest
    block.next, block.size = rest, size
    return rest


def _absorb(block: _Block, neighbour: _Block) -> None:
    """Make a neighbour part of a block."""
    if neighbour is block.previous:
        block.address, block.previous = neighbour.address, neighbour.previous
        if block.previous is not None:
            block.previous.next = block
    else:
        block.next = neighbour.next
        if block.next is not None:
            block.next.previous = block
    block.size += neighbour.size


def _first(entry: tuple[Any, ...]) -> int:
    return entry[0]


def _first_three(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    return entry[:3]
