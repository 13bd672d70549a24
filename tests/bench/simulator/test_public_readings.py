"""Recordings of real GPUs that others published, beside the simulator."""

import pytest

from docs.public_readings import READINGS, compare, highest_rise, is_served_by

IDS = [reading.file for reading in READINGS]


@pytest.mark.parametrize("reading", READINGS, ids=IDS)
def test_every_event_of_a_real_gpu_is_simulated_in_its_order(reading):
    """Libraries left out, since their version decides; the size of a block may exceed the request by 1 MiB at most."""
    pair = compare(reading)
    assert len(pair.recorded) > 1000
    assert len(pair.recorded) == len(pair.requested)
    assert pair.differing == []


@pytest.mark.parametrize("reading", READINGS, ids=IDS)
def test_the_rise_of_a_step_is_that_of_a_real_gpu(reading):
    """Within 0.5 %: how much is left on large blocks depends on cuDNN's workspaces, which are left out."""
    pair = compare(reading)
    assert highest_rise(pair.blocks) == pytest.approx(highest_rise(pair.recorded), rel=0.005)


@pytest.mark.parametrize(
    ("requested", "block", "served"),
    [(256, 512, True), (256, 1024, False), (2**20, 2**20, True), (2**20, 2**20 + 512, False),
     (2**21, 3 * 2**20, True), (2**21, 3 * 2**20 + 512, False), (-(2**21), -(2**21), True), (512, -512, False)],
)  # fmt: skip
def test_a_block_serves_a_request(requested, block, served):
    assert is_served_by(requested, block) is served
