"""Event by event: the simulator's stream beside the one torch's own CUDA allocator had.

`event_streams_VERSION.json.gz` are written by `tests/oracle/record_streams.py`; under a torch without one, the peaks
are held near those of torch 2.15.
"""

import gzip
import json
from pathlib import Path

import pytest

from bench.simulator import simulate_step
from bench.simulator.model import read_model, running_version
from tests.bench.simulator.recorded import recorded_on
from tests.oracle.cases import CASES
from tests.oracle.compare import KINDS, first_difference, settled, simulated_events

HERE = Path(__file__).parent
VERSION = "{}.{}".format(*running_version())
IS_RECORDED = (HERE / f"event_streams_{VERSION}.json.gz").exists()
FILE = HERE / f"event_streams_{VERSION if IS_RECORDED else '2.15'}.json.gz"
RECORDED = json.loads(gzip.decompress(FILE.read_bytes()))["streams"]


def test_every_case_is_recorded():
    assert set(RECORDED) == set(CASES)
    assert sum("error" in recorded for recorded in RECORDED.values()) <= 1


@pytest.mark.parametrize("name", CASES)
def test_the_stream_is_that_of_the_cuda_allocator(name):
    recorded = RECORDED[name]
    if "error" in recorded:
        pytest.skip(f"torch {VERSION} does not run this on CUDA: {recorded['error']}")
    simulation = simulate_step(CASES[name], read_model("H200") if IS_RECORDED else recorded_on())
    peaks = {kind: getattr(simulation.steady, f"{kind}_bytes") for kind in KINDS}
    if not IS_RECORDED:
        assert peaks["allocated"] == pytest.approx(recorded["peaks"]["allocated"], rel=0.03)
        return
    events, origins = simulated_events(simulation)
    in_order = "autocast" not in name  # see compare.py
    number = first_difference(settled(events, in_order=in_order), settled(recorded["events"], in_order=in_order))
    assert number is None, f"event {number} of {len(events)}: {[*origins, 'the end'][number]}"
    assert peaks == recorded["peaks"]
