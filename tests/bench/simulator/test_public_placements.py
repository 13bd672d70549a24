"""The allocator's model against addresses that real GPUs' allocators handed out, as others published them."""

import pytest

from docs.public_placements import read_recordings, replay


@pytest.mark.parametrize("name", read_recordings())
def test_every_block_lies_where_a_real_gpu_placed_it(name):
    recording = read_recordings()[name]
    found = replay(recording)
    assert found.allocations == sum(len(event) == 2 for event in recording["events"]) > 30
    assert found.misplaced == ()
    assert found.segments_asked == found.segments_recorded
    assert found.reserved_bytes == recording["reserved_bytes"]


def test_a_block_recorded_elsewhere_is_noticed():
    recording = read_recordings()["from-the-first-byte"]
    (address, size), *others = recording["events"]
    found = replay({**recording, "events": [[address + 1, size], *others]})
    assert 0 in found.misplaced
