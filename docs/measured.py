"""Tables of what devices said in `results/reference`."""

import statistics
from functools import cache
from pathlib import Path

from docs.tables import write_table
from tests.oracle.compare import simulated_events
from tests.oracle.records import Record, list_records, read_record, simulate, without_borrowed

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
KINDS = ("requested", "allocated", "reserved")


def plain_steps() -> str:
    """The simulator beside every record of steps of plain torch, with TF32 and its device's table of workspaces."""
    header = ["folder", "device", "torch", "streams equal", "cases", *KINDS]
    return write_table(header, [_row(read_record(folder)) for folder in list_records(REFERENCE)])


def _row(record: Record) -> list[str]:
    equal = sum(_is_equal(record, key) for key in record.events)
    ran = [key for key, reading in record.peaks.items() if "steady" in reading and key.endswith("tf32 True")]
    device = record.device["name"] + (f" (stand-in, cuDNN's plans for {record.profile})" if record.is_stand_in else "")
    errors = [_describe([_error(record, key, kind) for key in ran]) for kind in KINDS]
    streams = f"{equal} of {len(record.events)}"
    return [f"`{record.name}`", device, record.device["torch"], streams, str(len(ran)), *errors]


def _is_equal(record: Record, key: str) -> bool:
    simulated, _ = simulated_events(simulate(record, key, workspace="none"))
    return without_borrowed(simulated) == without_borrowed(record.events[key])


@cache
def _peaks(folder: str, key: str) -> dict[str, int]:
    simulation = simulate(read_record(REFERENCE / folder), key, workspace="table")
    return {kind: getattr(simulation.steady, f"{kind}_bytes") for kind in KINDS}


def _error(record: Record, key: str, kind: str) -> float:
    return _peaks(record.name, key)[kind] / record.peaks[key]["steady"][kind] - 1


def _describe(errors: list[float]) -> str:
    worst = max(errors, key=abs)
    if worst == 0:
        return "exact"
    return f"{100 * statistics.median(map(abs, errors)):.2f} %, {100 * worst:+.2f} %"
