"""Tables of what devices said in `results/reference`."""

import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from docs.tables import write_table
from reports.units import format_mib, format_milliseconds, format_ratio
from results.record import Measurement
from results.statistics import paired_ratio
from results.store import read_file
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


STEP_HEADER = [
    "device", "torch", "case", "allocated MiB", "process MiB", "context MiB", "source", "step ms", "of E2E", "J",
    "latency ms", "flags",
]  # fmt: skip


def steps(folder: Path = REFERENCE) -> str:
    """Readings of steps on real GPUs, from every file of rows in a folder."""
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in read_file(path)]
    wanted = ("measured", "cuda", "step", "ok")
    shown = [_step_row(row) for row in rows if (row.provenance, row.device, row.measure, row.status) == wanted]
    return write_table(STEP_HEADER, shown) if shown else "None yet."


def _step_row(row: Measurement) -> list[str]:
    own, where = row.readings, row.environment
    return [
        where.device_name,
        where.torch_version,
        f"`{row.case.label}`, batch {row.case.batch_size}",
        format_mib(own.peak_allocated_bytes),
        format_mib(own.device_process_bytes),
        format_mib(own.context_bytes),
        own.device_process_source or "",
        format_milliseconds(_middle(own.step_seconds)),
        _ratio(own.step_seconds, own.reference_step_seconds, own.block_step_count),
        "" if not own.step_energy_joules else f"{statistics.fmean(own.step_energy_joules):.3g}",
        format_milliseconds(_middle(own.latency_seconds)),
        ", ".join(own.flags or ()),
    ]


def _middle(samples: Sequence[float] | None) -> float | None:
    return statistics.median(samples) if samples else None


def _ratio(seconds: Sequence[float] | None, references: Sequence[float] | None, steps: int | None) -> str:
    if not seconds or not references:
        return ""
    found = paired_ratio(seconds, references, 2 * (steps or 1))
    return format_ratio(found.median, found.low, found.high)
