"""The simulator beside what devices did in steps of plain torch: each folder of `results/reference`, whatever made it.

What a device does besides the simulator is to borrow workspaces, given back before anything else happens. Without such
blocks the streams of events are equal, to the byte and in order, on every device; the highest sum of requested bytes
lies between the simulated one and that plus the largest block borrowed. Peaks simulated with a table of workspaces are
in `docs/simulator.md` for every device; on a stand-in that asks cuDNN for the plans of the table's device they are met.
"""

import itertools
from functools import cache
from pathlib import Path

import pytest

from tests.oracle.compare import simulated_events
from tests.oracle.records import list_records, read_record, simulate, without_borrowed

FOLDERS = list_records(Path(__file__).parents[2] / "results" / "reference")
STAND_IN = next(folder for folder in FOLDERS if folder.name == "hollow-H200-plain")
TRACED = [(folder, key) for folder in FOLDERS for key in read_record(folder).events]
NAMES = [f"{folder.name}: {key}" for folder, key in TRACED]
ALL_LAYERS_IN_TABLE = [key for key in read_record(STAND_IN).peaks if "tf32 True" in key and "resnet50" not in key]


@cache
def simulate_without_workspaces(folder, key):
    simulation = simulate(read_record(folder), key, workspace="none")
    return simulated_events(simulation)[0], simulation.steady.requested_bytes


@pytest.mark.parametrize(("folder", "key"), TRACED, ids=NAMES)
def test_events_are_the_device_s_but_for_what_it_borrows(folder, key):
    events, _ = simulate_without_workspaces(folder, key)
    recorded = read_record(folder).events[key]
    assert len(recorded) >= len(events)
    assert without_borrowed(recorded) == without_borrowed(events)


@pytest.mark.parametrize(("folder", "key"), TRACED, ids=NAMES)
def test_a_peak_is_higher_by_no_more_than_a_borrowed_block(folder, key):
    record = read_record(folder)
    _, peak = simulate_without_workspaces(folder, key)
    events = record.events[key]
    borrowed = max((size for size, after in itertools.pairwise(events) if size == -after), default=0)
    assert peak <= record.peaks[key]["steady"]["requested"] <= peak + borrowed


@pytest.mark.parametrize("key", ALL_LAYERS_IN_TABLE)
def test_with_the_table_of_its_device_the_stand_in_s_peaks_are_met(key):
    simulation = simulate(read_record(STAND_IN), key, workspace="table")
    kinds = ("requested", "allocated")  # segments are those of a process that ran other cases before
    found = {kind: getattr(simulation.steady, f"{kind}_bytes") for kind in kinds}
    assert found == {kind: read_record(STAND_IN).peaks[key]["steady"][kind] for kind in kinds}


def test_what_single_convolutions_borrowed_is_in_the_table():
    record = read_record(STAND_IN)
    source = record.model(tf32=True, workspace="table").source
    found = {signature: source(signature) for signature in record.workspaces}
    known = found.keys() - source.unknown
    assert len(known) > len(found) / 2
    assert {each: found[each] for each in known} == {each: record.workspaces[each] for each in known}


def test_borrowed_blocks_are_those_given_back_at_once():
    assert without_borrowed([8, 4, -4, -8, 16, 4, 8, -4]) == [16, 4, 8, -4]
