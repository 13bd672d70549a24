"""The allocator's rules worked by hand, its invariants on made streams, and torch's own allocator on recorded ones."""

import gzip
import json
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.allocator import (
    MIB,
    AllocatorSettingError,
    CachingAllocator,
    OutOfMemoryError,
    Settings,
    parse_settings,
    round_size,
    segment_size,
)
from bench.simulator.model import ties

STREAMS: list[dict[str, Any]] = json.loads(
    gzip.decompress(Path(__file__).with_name("allocator_streams.json.gz").read_bytes())
)
FIGURES = ("requested", "allocated", "reserved", "retries")


def make_allocator(text: str = "", **fixed: Any) -> CachingAllocator:
    return CachingAllocator(parse_settings(text, **fixed))


def address(allocator: CachingAllocator, name: int) -> int:
    return allocator._blocks[name].address


def free_stretches(allocator: CachingAllocator) -> list[tuple[int, int]]:
    """Address and size of the free blocks of both pools."""
    return sorted((block.address, block.size) for pool in allocator._pools.values() for *_, block in pool.free)


# --- sizes and segments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "block"), [(1, 512), (512, 512), (513, 2 * 512), (MIB, MIB), (MIB + 1, MIB + 512)])
def test_sizes_are_rounded_up_to_multiples_of_512(size, block):
    assert round_size(size) == block
    assert make_allocator().allocate(1, size) == block


@pytest.mark.parametrize(
    ("size", "divisions", "block"),
    [
        (2048, 4, 2048),  # up to 4 * 512 the multiples of 512 stay
        (1100, 4, 1536),
        (2049, 4, 2048 + 2048 // 4),
        (5000, 4, 4096 + 4096 // 4),
        (7169, 4, 8192),  # the last step is the next power of two
        (8192, 4, 8192),
        (MIB + 1, 8, MIB + MIB // 8),
        (MIB + 1, 2, MIB + MIB // 2),
        (MIB + 1, 1, MIB + 512),  # one division is none
    ],
)
def test_divisions_round_to_steps_between_powers_of_two(size, divisions, block):
    assert round_size(size, divisions) == block
    assert make_allocator(f"roundup_power2_divisions:{divisions}").allocate(1, size) == block


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (MIB, MIB, 2 * MIB),  # the largest small block
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),  # from here a segment of its own, rounded to 2 MiB
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),  # 12 - 11 = 1 MiB is not split off
        (11 * MIB - 1, 12 * MIB, 12 * MIB),  # a byte less is the same block
        (11 * MIB - 512, 11 * MIB - 512, 12 * MIB),  # 12 - 11 MiB + 512 is
    ],
)
def test_a_first_request_makes_a_segment_of_its_kind(size, allocated, reserved):
    allocator = make_allocator()
    assert segment_size(round_size(size)) == reserved
    assert allocator.allocate(1, size) == allocated
    assert (allocator.requested, allocator.allocated, allocator.reserved) == (size, allocated, reserved)


def test_small_and_large_requests_share_no_segment():
    allocator = make_allocator()
    allocator.allocate(1, 12 * MIB)
    allocator.free(1)
    allocator.allocate(2, 512)
    assert allocator.reserved == (12 + 2) * MIB


def test_nothing_is_held_for_zero_bytes():
    allocator = make_allocator()
    assert allocator.allocate(1, 0) == 0
    allocator.free(1)
    assert (allocator.requested, allocator.allocated, allocator.reserved) == (0, 0, 0)


def test_a_name_never_given_frees_nothing():
    allocator = make_allocator()
    allocator.allocate(1, 512)
    allocator.free(2)
    assert allocator.allocated == 512


def test_a_held_name_cannot_be_given_again():
    allocator = make_allocator()
    allocator.allocate(1, 512)
    with pytest.raises(ValueError, match="request 1 is held already"):
        allocator.allocate(1, 512)


# --- splitting, best fit, merging -------------------------------------------------------------------------------------


def test_a_small_remainder_of_512_serves_the_next_request():
    allocator = make_allocator()
    for name, size in enumerate((MIB, MIB - 512, 1)):
        allocator.allocate(name, size)
    assert (allocator.allocated, allocator.reserved) == (2 * MIB, 2 * MIB)


def test_a_large_remainder_is_split_off_above_one_mebibyte():
    allocator = make_allocator()
    allocator.allocate(1, 9 * MIB)  # leaves 11 of 20
    assert allocator.allocate(2, 10 * MIB) == 11 * MIB  # leaves 1: the whole block counts
    assert (allocator.requested, allocator.allocated, allocator.reserved) == (19 * MIB, 20 * MIB, 20 * MIB)


def test_the_smallest_block_that_fits_is_taken():
    allocator = make_allocator()
    for name, size in enumerate((2048, 512, 1024, 512, 512, 512)):
        allocator.allocate(name, size)
    for name in (0, 2, 4):  # free: 2048 at 0, 1024 at 2560, 512 at 4096, and the rest of the segment
        allocator.free(name)
    allocator.allocate(9, 1000)
    assert address(allocator, 9) == 2560


def test_equal_blocks_of_a_segment_are_taken_by_address():
    allocator = make_allocator()
    for name in range(5):
        allocator.allocate(name, 512)
    for name in (3, 1):
        allocator.free(name)
    allocator.allocate(9, 512)
    assert address(allocator, 9) == 512


@pytest.mark.parametrize(("by_address", "taken"), [(False, 12 * MIB), (True, 0)])
def test_equal_blocks_are_taken_by_age_of_their_segment_since_torch_2_13(by_address, taken):
    allocator = make_allocator(ties_by_address=by_address)
    allocator.allocate(1, 12 * MIB)  # at 0
    allocator.allocate(2, 12 * MIB)  # at 12 MiB
    allocator.free(1)
    allocator.empty_cache()
    allocator.allocate(3, 12 * MIB)  # at 0 again, and younger
    allocator.free(2)
    allocator.free(3)
    allocator.allocate(4, 12 * MIB)
    assert address(allocator, 4) == taken


def test_a_freed_block_merges_with_both_neighbours():
    allocator = make_allocator()
    for name in range(3):
        allocator.allocate(name, 512)
    allocator.free(0)
    assert free_stretches(allocator) == [(0, 512), (1536, 2 * MIB - 1536)]
    allocator.free(2)
    assert free_stretches(allocator) == [(0, 512), (1024, 2 * MIB - 1024)]
    allocator.free(1)
    assert free_stretches(allocator) == [(0, 2 * MIB)]


def test_neighbouring_segments_do_not_merge():
    allocator = make_allocator()
    for name in range(2):
        allocator.allocate(name, 12 * MIB)
    for name in range(2):
        allocator.free(name)
    assert free_stretches(allocator) == [(0, 12 * MIB), (12 * MIB, 12 * MIB)]


def test_emptying_the_cache_returns_only_segments_that_are_wholly_free():
    allocator = make_allocator()
    allocator.allocate(1, 2 * MIB)  # 20 MiB segment, 18 of it free
    allocator.allocate(2, 30 * MIB)
    allocator.allocate(3, 512)
    allocator.free(2)
    allocator.free(3)
    assert allocator.reserved == (20 + 30 + 2) * MIB
    allocator.empty_cache()
    assert allocator.reserved == 20 * MIB


# --- largest split size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size", "allocated", "reserved"),
    [
        ("", 12 * MIB, 12 * MIB, 60 * MIB),  # split from the free 60
        ("max_split_size_mb:61", 12 * MIB, 12 * MIB, 60 * MIB),
        ("max_split_size_mb:60", 12 * MIB, 12 * MIB, (60 + 12) * MIB),  # 60 is oversize and kept from small requests
        ("max_split_size_mb:20", 40 * MIB, 40 * MIB, (60 + 40) * MIB),  # 60 >= 40 + 20: too much larger
        ("max_split_size_mb:20", 40 * MIB + 1, 60 * MIB, 60 * MIB),  # 60 < 40 + 20 and 512 bytes: taken, never split
        ("max_split_size_mb:20,max_non_split_rounding_mb:21", 40 * MIB, 60 * MIB, 60 * MIB),
    ],
)
def test_oversize_blocks_serve_requests_of_about_their_size(text, size, allocated, reserved):
    allocator = make_allocator(text)
    allocator.allocate(1, 60 * MIB)
    allocator.free(1)
    allocator.allocate(2, size)
    assert (allocator.allocated, allocator.reserved) == (allocated, reserved)


def test_oversize_blocks_are_returned_before_everything_else():
    allocator = make_allocator("max_split_size_mb:20", limit_bytes=100 * MIB)
    for name, size in enumerate((12, 30, 50)):
        allocator.allocate(name, size * MIB)
    for name in range(3):
        allocator.free(name)
    allocator.allocate(3, 60 * MIB)  # 50 is not enough, 50 + 30 is; 12 is not oversize and stays
    assert (allocator.reserved, allocator.retries) == ((12 + 60) * MIB, 0)


def test_one_oversize_block_is_returned_where_it_is_enough():
    allocator = make_allocator("max_split_size_mb:20", limit_bytes=120 * MIB)
    for name, size in enumerate((50, 60)):
        allocator.allocate(name, size * MIB)
    for name in range(2):
        allocator.free(name)
    allocator.allocate(2, 26 * MIB)  # both are 20 MiB too large for it; the smaller is returned
    assert (allocator.reserved, allocator.retries) == ((60 + 26) * MIB, 0)


# --- out of memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["limit_bytes", "device_bytes"])
def test_cached_segments_are_returned_before_a_request_fails(bound):
    allocator = make_allocator("", **{bound: 40 * MIB})
    allocator.allocate(1, 30 * MIB)
    allocator.free(1)
    allocator.allocate(2, 40 * MIB)  # 30 + 40 > 40, so the 30 are returned; exactly the bound fits
    assert (allocator.reserved, allocator.retries) == (40 * MIB, 1)
    with pytest.raises(OutOfMemoryError) as raised:
        allocator.allocate(3, 1)
    assert str(raised.value) == "1 bytes asked for, 41943040 allocated, 41943040 reserved, limit 41943040"
    assert (allocator.requested, allocator.reserved, allocator.retries) == (40 * MIB, 40 * MIB, 2)
    allocator.free(3)
    allocator.free(2)
    assert allocator.allocate(4, 40 * MIB) == 40 * MIB


def test_a_failed_request_leaves_the_cache_empty():
    allocator = make_allocator(limit_bytes=40 * MIB)
    allocator.allocate(1, 30 * MIB)
    allocator.free(1)
    with pytest.raises(OutOfMemoryError):
        allocator.allocate(2, 41 * MIB)
    assert (allocator.allocated, allocator.reserved) == (0, 0)


@pytest.mark.parametrize(
    ("limit", "reserved"),
    [
        ({"limit_bytes": 100 * MIB}, (20 + 24 + 30) * MIB),  # 56 held, 6 above half of 100: the 12 go, which is enough
        ({"limit_bytes": 112 * MIB}, (12 + 20 + 24 + 30) * MIB),  # 56 is half of 112: nothing to do
        ({}, (12 + 20 + 24 + 30) * MIB),  # without a limit there is no threshold
    ],
)
def test_garbage_collection_returns_what_was_unused_longer_than_the_average(limit, reserved):
    allocator = make_allocator("garbage_collection_threshold:0.5", **limit)
    for name, size in enumerate((12, 20, 24)):
        allocator.allocate(name, size * MIB)
    allocator.free(0)
    allocator.free(1)
    allocator.allocate(3, 20 * MIB)
    allocator.free(3)
    allocator.allocate(4, 30 * MIB)  # 2 searches since the 12 were freed, 1 since the 20; average 1.5
    assert allocator.reserved == reserved


# --- expandable segments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "reserved"),
    [(1, 2 * MIB), (MIB, 2 * MIB), (MIB + 1, 20 * MIB), (20 * MIB - 512, 20 * MIB), (20 * MIB + 1, 40 * MIB)],
)
def test_expandable_segments_grow_by_pages(size, reserved):
    allocator = make_allocator("expandable_segments:True")
    assert allocator.allocate(1, size) == round_size(size)  # remainders are split off from 512 bytes
    assert allocator.reserved == reserved


def test_an_expandable_segment_grows_behind_its_free_end():
    allocator = make_allocator("expandable_segments:True")
    allocator.allocate(1, 15 * MIB)  # one page of 20
    allocator.allocate(2, 20 * MIB)  # the free 5, and 15 of the next page
    assert (address(allocator, 2), allocator.reserved) == (15 * MIB, 40 * MIB)


def test_unmapping_keeps_pages_that_are_used_in_part():
    allocator = make_allocator("expandable_segments:True")
    allocator.allocate(1, 30 * MIB)
    allocator.allocate(2, 30 * MIB)  # three pages, all used
    allocator.free(1)
    allocator.empty_cache()  # the page from 0 to 20; from 20 to 30 is part of a page
    assert (free_stretches(allocator), allocator.reserved) == ([(20 * MIB, 10 * MIB)], 40 * MIB)
    allocator.allocate(3, 25 * MIB)  # the lowest room: the unmapped page with the 10 behind it
    assert (address(allocator, 3), allocator.reserved) == (0, 60 * MIB)
    allocator.free(2)
    allocator.free(3)
    allocator.empty_cache()
    assert (free_stretches(allocator), allocator.reserved) == ([], 0)


def test_the_end_of_an_expandable_segment_is_spared():
    allocator = make_allocator("expandable_segments:True")
    for name, size in enumerate((30, 30, 20)):
        allocator.allocate(name, size * MIB)
    allocator.free(0)
    allocator.free(2)
    allocator.allocate(3, 20 * MIB)  # the free 20 can grow and count with their room; the free 30 cannot
    assert address(allocator, 3) == 0


def test_an_expandable_segment_without_pages_is_given_up():
    # A device of 80 MiB: ranges of 9/8 of it, in whole pages 100 MiB.
    allocator = make_allocator("expandable_segments:True", device_bytes=80 * MIB)
    allocator.allocate(1, 40 * MIB)
    allocator.allocate(2, 20 * MIB)
    allocator.free(1)
    allocator.allocate(3, 60 * MIB)  # room neither before nor behind request 2: a second range
    assert (address(allocator, 3), allocator.reserved, allocator.retries) == (100 * MIB, 80 * MIB, 1)
    allocator.free(2)
    allocator.empty_cache()
    allocator.allocate(4, 20 * MIB)  # not in the first range, though it is lower
    assert address(allocator, 4) == 160 * MIB


def test_a_full_device_leaves_what_was_mapped_before_it_failed():
    allocator = make_allocator("expandable_segments:True", device_bytes=60 * MIB)
    allocator.allocate(1, 50 * MIB)
    with pytest.raises(OutOfMemoryError):
        allocator.allocate(2, 20 * MIB)
    assert (allocator.reserved, allocator.retries) == (60 * MIB, 1)
    assert allocator.allocate(3, 10 * MIB) == 10 * MIB


# --- made streams -----------------------------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(0, 4096),
    st.integers(1, MIB),
    st.integers(MIB, 80 * MIB),
    st.sampled_from([512, 513, MIB, MIB + 1, 10 * MIB - 512, 10 * MIB, 20 * MIB, 40 * MIB]),
)
# Requests by size, frees by a number that chooses among what is held, None to empty the cache.
OPERATIONS = st.lists(
    st.one_of(st.tuples(st.just("allocate"), SIZES), st.tuples(st.just("free"), st.integers(0, 99)), st.none()),
    max_size=80,
)
SETTINGS = st.builds(
    Settings,
    device_bytes=st.sampled_from([2**40, 200 * MIB, 100 * MIB + 12345]),
    limit_bytes=st.sampled_from([2**62, 150 * MIB]),
    expandable_segments=st.booleans(),
    max_split_bytes=st.sampled_from([2**62, 20 * MIB, 64 * MIB]),
    max_non_split_rounding_bytes=st.sampled_from([20 * MIB, 64 * MIB]),
    roundup_power2_divisions=st.sampled_from([0, 1, 2, 8]),
    garbage_collection_threshold=st.sampled_from([0.0, 0.3, 0.8]),
    ties_by_address=st.booleans(),
    ties_by_block=st.booleans(),
)


def run_operations(allocator: CachingAllocator, operations: Any) -> dict[int, int]:
    """Serve a made stream, with all invariants after each operation; returns what is held, by name."""
    held: dict[int, int] = {}
    for name, operation in enumerate(operations):
        match operation:
            case None:
                allocator.empty_cache()
            case ("allocate", size):
                try:
                    assert allocator.allocate(name, size) >= size
                except OutOfMemoryError:
                    pass
                else:
                    held[name] = size
            case (_, choice):
                if held:
                    freed = sorted(held)[choice % len(held)]
                    del held[freed]
                    allocator.free(freed)
        check_invariants(allocator, held)
    return held


def check_invariants(allocator: CachingAllocator, held: dict[int, int]) -> None:
    used = list(allocator._blocks.values())
    free = [block for pool in allocator._pools.values() for *_, block in pool.free]
    unmapped = [block for pool in allocator._pools.values() for _, block in pool.unmapped]
    assert allocator.requested == sum(held.values()) <= allocator.allocated == sum(block.size for block in used)
    assert allocator.allocated <= allocator.reserved == sum(block.size for block in [*used, *free])
    assert allocator.reserved <= allocator.settings.device_bytes
    everything = sorted([*used, *free, *unmapped], key=lambda block: block.address)
    assert all(block.address + block.size <= after.address for block, after in pairwise(everything))
    for block in everything:
        if block.next is not None:
            assert block.next.previous is block
            assert block.next.address == block.address + block.size
    for block in free:  # neighbours would have merged, but for the parts of pages that unmapping leaves
        assert block.next is None or block.next.allocated or not block.next.mapped
    for pool in allocator._pools.values():
        assert [entry[:3] for entry in pool.free] == sorted(entry[:3] for entry in pool.free)
        assert all(block.small == pool.small for *_, block in pool.free)


@settings(max_examples=400, deadline=None)
@given(SETTINGS, OPERATIONS, st.randoms(use_true_random=False))
def test_blocks_fill_their_segments_and_merge_back_into_them(chosen, operations, order):
    allocator = CachingAllocator(chosen)
    names = sorted(run_operations(allocator, operations))
    order.shuffle(names)
    for name in names:
        allocator.free(name)
    assert (allocator.requested, allocator.allocated) == (0, 0)
    allocator.empty_cache()
    assert (free_stretches(allocator), allocator.reserved) == ([], 0)


@settings(max_examples=200, deadline=None)
@given(SETTINGS, OPERATIONS, st.randoms(use_true_random=False))
def test_the_order_of_frees_leaves_no_trace(chosen, operations, order):
    states = []
    for shuffled in (False, True):
        allocator = CachingAllocator(chosen)
        names = sorted(run_operations(allocator, operations))
        if shuffled:
            order.shuffle(names)
        for name in names:
            allocator.free(name)
        states.append((free_stretches(allocator), allocator.reserved, allocator.retries))
    assert states[0] == states[1]


# --- recorded streams -------------------------------------------------------------------------------------------------


def _name(stream: dict[str, Any]) -> str:
    limit = "" if stream["limit_bytes"] is None else f",limit {stream['limit_bytes'] // MIB} MiB"
    return f"torch {stream['torch']},{stream['settings']}{limit},device {stream['device_bytes'] // MIB} MiB"


def settings_of(stream: dict[str, Any]) -> Settings:
    version = tuple(int(part) for part in stream["torch"].split(".")[:2])
    fixed = {"device_bytes": stream["device_bytes"], **ties(version)}
    if stream["limit_bytes"] is not None:
        fixed["limit_bytes"] = stream["limit_bytes"]
    return parse_settings(stream["settings"], **fixed)


@pytest.mark.parametrize("stream", STREAMS, ids=_name)
def test_every_operation_ends_as_on_the_device(stream):
    allocator = CachingAllocator(settings_of(stream))
    failed = set(stream["failed"])
    truth = zip(*(accumulate(stream[name]) for name in FIGURES), strict=True)
    requests = 0
    for index, (operation, expected) in enumerate(zip(stream["operations"], truth, strict=True)):
        served = True
        if operation > 0:
            requests += 1
            try:
                allocator.allocate(requests, operation)
            except OutOfMemoryError:
                served = False
        elif operation < 0:
            allocator.free(-operation)
        else:
            allocator.empty_cache()
        simulated = tuple(getattr(allocator, name) for name in FIGURES)
        assert (simulated, served) == (expected, index not in failed), (
            f"operation {index} ({operation}) is the first that differs in {', '.join(FIGURES)}, served"
        )


def test_the_recorded_streams_reach_every_rule():
    of_newest = [stream for stream in STREAMS if stream["torch"].startswith("2.15")]
    assert len(of_newest) >= 24
    assert all(300 <= len(stream["operations"]) <= 600 for stream in STREAMS)
    for text in ("expandable_segments", "max_split_size", "roundup_power2", "garbage_collection"):
        tight = [stream for stream in of_newest if text in stream["settings"] and stream["failed"]]
        assert len(tight) >= 3
        assert all(sum(stream["retries"]) >= len(stream["failed"]) for stream in tight)


def test_ties_decide_in_some_recorded_streams():
    older = {_inputs(stream): stream for stream in STREAMS if stream["torch"].startswith("2.11")}
    pairs = [(stream, older[_inputs(stream)]) for stream in STREAMS if stream["torch"].startswith("2.15")]
    assert sum(new["allocated"] != old["allocated"] for new, old in pairs) >= 10


def _inputs(stream: dict[str, Any]) -> str:
    return json.dumps([stream[name] for name in ("settings", "limit_bytes", "device_bytes", "operations")])


# --- settings ---------------------------------------------------------------------------------------------------------


def test_no_text_means_the_defaults():
    assert parse_settings("") == parse_settings(" , ") == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_split:20", "unknown allocator setting 'max_split:20'; there are expandable_segments, max_split_size_mb"),
        ("Expandable_segments:True", "unknown allocator setting 'Expandable_segments:True'"),
        (":20", "unknown allocator setting ':20'"),
        ("expandable_segments", "allocator setting 'expandable_segments' has no value; write expandable_segments: and"),
        ("expandable_segments:", "expandable_segments cannot be ''; it is True or False"),
        ("expandable_segments:true", "expandable_segments cannot be 'true'; it is True or False"),
        ("max_split_size_mb:19", "max_split_size_mb cannot be '19'; it is a whole number from 20"),
        ("max_split_size_mb:20.5", "max_split_size_mb cannot be '20.5'"),
        ("max_split_size_mb:-1", "max_split_size_mb cannot be '-1'"),
        ("max_split_size_mb:٣٠", "max_split_size_mb cannot be '٣٠'"),
        ("max_non_split_rounding_mb:1", "max_non_split_rounding_mb cannot be '1'; it is a whole number from 20"),
        ("roundup_power2_divisions:0", "roundup_power2_divisions cannot be '0'; it is a power of two"),
        ("roundup_power2_divisions:3", "roundup_power2_divisions cannot be '3'"),
        ("garbage_collection_threshold:0.0", "garbage_collection_threshold cannot be '0.0'; it is a number between"),
        ("garbage_collection_threshold:1", "garbage_collection_threshold cannot be '1'"),
        ("expandable_segments:True,nothing:1", "unknown allocator setting 'nothing:1'"),
    ],
)
def test_settings_that_torch_rejects_are_named(text, message):
    with pytest.raises(AllocatorSettingError) as raised:
        parse_settings(text)
    assert message in str(raised.value)


def test_the_last_of_a_name_counts_and_spaces_do_not():
    assert parse_settings("max_split_size_mb:30, max_split_size_mb : 40 ").max_split_bytes == 40 * MIB


@given(
    st.booleans(),
    st.integers(20, 10**6),
    st.integers(20, 10**6),
    st.sampled_from([1, 2, 4, 64]),
    st.integers(1, 999),
    st.randoms(use_true_random=False),
)
def test_settings_survive_being_written_and_read(expandable, split, rounding, divisions, thousandths, order):
    items = [
        f"expandable_segments:{expandable}",
        f"max_split_size_mb:{split}",
        f"max_non_split_rounding_mb:{rounding}",
        f"roundup_power2_divisions:{divisions}",
        f"garbage_collection_threshold:{thousandths / 1000}",
    ]
    order.shuffle(items)
    assert parse_settings(",".join(items), limit_bytes=7) == Settings(
        limit_bytes=7,
        expandable_segments=expandable,
        max_split_bytes=split * MIB,
        max_non_split_rounding_bytes=rounding * MIB,
        roundup_power2_divisions=divisions,
        garbage_collection_threshold=thousandths / 1000,
    )


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(["expandable_segments", "max_split_size_mb", "roundup_power2_divisions", ":", ",", "True"])
            | st.sampled_from(
                ["garbage_collection_threshold", "0.5", ".", "20", "4", "9" * 5000, "1e-3", " ", "[", ">"]
            )
        ).map("".join),
    )
)
def test_any_text_gives_settings_or_a_named_error(text):
    with suppress(AllocatorSettingError):
        assert isinstance(parse_settings(text), Settings)
