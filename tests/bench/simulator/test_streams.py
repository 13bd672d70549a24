"""Event by event: the simulator's stream beside that of torch's CUDA dispatch and allocator.

`event_streams.json.gz` is written by `tests/oracle/record_streams.py` (torch 2.15.0, compute capability 9.0, 132
multiprocessors, convolutions without workspace).
"""

import gzip
import json
from pathlib import Path

import pytest

from bench.simulator import simulate_step
from bench.simulator.model import running_version
from tests.bench.simulator.recorded import recorded_on
from tests.oracle.cases import CASES

RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "event_streams.json.gz").read_bytes()))["streams"]


RECORDED_WITH = (2, 15)


def test_every_case_is_recorded():
    assert set(RECORDED) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_stream_is_that_of_the_cuda_allocator(name):
    simulation = simulate_step(CASES[name], recorded_on())
    stream, recorded = simulation.stream, RECORDED[name]
    if running_version() != RECORDED_WITH:
        # Another torch takes other ways here and there (attention since 2.15); the peaks stay where they were.
        assert simulation.steady.allocated_bytes == pytest.approx(recorded["peaks"]["allocated"], rel=0.03)
        return
    events = [stream.events[index] for index in stream.step_events(2)]
    for number, (event, expected) in enumerate(zip(events, recorded["events"], strict=False)):
        size = event.bytes if event.action == "alloc" else -event.bytes
        assert size == expected, f"event {number} of {len(events)}: {event.operator} in {event.place}"
    assert len(events) == len(recorded["events"])
    peak = simulation.steady
    assert {
        "requested": peak.requested_bytes,
        "allocated": peak.allocated_bytes,
        "reserved": peak.reserved_bytes,
    } == recorded["peaks"]
