"""What changed from one run to another, case by case: peaks in bytes, step times as ratios to E2E.

A peak is the same or it is not: nothing but another program or library moves it. A step ratio is taken for another only
where the 95% intervals of the two do not touch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reports import cells
from reports.changes import format_bytes, name_differences
from reports.comparison import ReportError, workload_of
from reports.layout import Column, Table
from reports.units import NOTHING, format_change, format_gib, format_ratio
from results.baseline import Held, find_differences
from results.record import Case, Measurement
from results.statistics import Ratio, paired_ratio

Verdict = Literal["broken", "grew", "slower", "gone", "shrank", "faster", "mended", "new", "same"]
VERDICTS: tuple[Verdict, ...] = ("broken", "grew", "slower", "gone", "shrank", "faster", "mended", "new", "same")
"""What may be said of a case, worst first."""

LEGEND = (
    "peak: of allocated bytes in a steady training step; why it changed stands below, by category and module. GiB are "
    "2^30 bytes. x E2E: step time beside that of E2E, median of pairs ± half of the 95% interval; slower and faster: "
    "the intervals do not touch."
)

Key = tuple[Case, str, str, str]
"""Case, provenance, kind of device and what was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """One case in one way of measuring, before and after."""

    verdicts: tuple[Verdict, ...]
    """At least one; `same` stands alone."""
    before: Measurement | None
    after: Measurement | None

    @property
    def measurement(self) -> Measurement:
        """The later one there is: its case is that of both."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - a change has at least one side
        return found


def compare_runs(before: Sequence[Measurement], after: Sequence[Measurement], anyway: bool = False) -> list[RunChange]:
    """Every case of both runs, in the order of the later one; cases that are gone at the end.

    Args:
        before: rows of the earlier run.
        after: rows of the later run.
        anyway: compare also what was made on unlike machines or with unlike versions.

    Raises:
        ReportError: no case is in both, or cases in both are of unlike machines or versions, which it names.
    """
    old, new = _latest(before), _latest(after)
    shared = [(old[key], new[key]) for key in new if key in old]
    if not shared:
        raise ReportError(f"the runs have no case in common (cases: {len(old)} and {len(new)})")
    unlike = find_unlike(shared)
    if unlike and not anyway:
        raise ReportError(f"the runs are not alike: {'; '.join(unlike)}. Compare them all the same with --anyway")
    changes = [_judge(old.get(key), row) for key, row in new.items()]
    return changes + [_judge(row, None) for key, row in old.items() if key not in new]


def find_unlike(pairs: Iterable[tuple[Measurement, Measurement]]) -> list[str]:
    """In which machines and versions the two sides of any pair differ, such as `torch 2.11.0 and 2.15.0`."""
    found: dict[str, None] = {}
    for before, after in pairs:
        conditions = zip(_conditions(before).items(), _conditions(after).values(), strict=True)
        # A case that failed early does not know all of them.
        known = [each for each in conditions if None not in (each[0][1], each[1])]
        found |= {f"{name} {old} and {new}": None for (name, old), new in known if old != new}
    return list(found)


def _conditions(row: Measurement) -> dict[str, object]:
    """What a reading depends on beside its case, by name."""
    e = row.environment
    # Builds of one torch for other CUDA versions, `2.15.0+cu132`, allocate the same.
    shared = {"device": e.device_name, "torch": e.torch_version.partition("+")[0]}
    if row.provenance == "simulated":
        return {**shared, "simulator": e.simulator_version, "workspace": row.readings.workspace}
    return {
        **shared,
        "CUDA": e.cuda_version,
        "cuDNN": e.cudnn_version,
        "driver": e.driver_version,
        "CPU": e.cpu_name,
        "threads": e.thread_count,
        "clock": e.set_clock_hertz,
        "MIG": e.mig_mode,
        "allocator settings": e.allocator_settings,
    }


def _latest(rows: Sequence[Measurement]) -> dict[Key, Measurement]:
    """Of rows of one case, such as of two versions, the one started last."""
    ordered = sorted(rows, key=lambda row: row.started_at)
    last = {_key(row): row for row in ordered}
    keys = dict.fromkeys(map(_key, rows))
    return {key: last[key] for key in keys}


def _key(row: Measurement) -> Key:
    return (row.case, row.provenance, row.device, row.measure)


def _judge(before: Measurement | None, after: Measurement | None) -> RunChange:
    if before is None or after is None:
        return RunChange(verdicts=("gone" if after is None else "new",), before=before, after=after)
    if before.status != after.status:
        verdict: Verdict = "mended" if after.status == "ok" else "broken"
        return RunChange(verdicts=(verdict,), before=before, after=after)
    found: list[Verdict] = []
    old, new = peak_of(before), peak_of(after)
    if old is not None and new is not None and old != new:
        found.append("grew" if new > old else "shrank")
    first, second = step_of(before), step_of(after)
    if first and second and None not in (first.low, first.high, second.low, second.high):
        if (second.low or 0) > (first.high or 0):
            found.append("slower")
        elif (second.high or 0) < (first.low or 0):
            found.append("faster")
    return RunChange(verdicts=tuple(found) or ("same",), before=before, after=after)


def peak_of(row: Measurement | None) -> int | None:
    """Allocated peak in bytes of a finished row, or what its search found to be the least memory."""
    if row is None or row.status != "ok":
        return None
    return row.readings.least_memory_bytes if row.measure == "least_memory" else row.readings.peak_allocated_bytes


def step_of(row: Measurement | None) -> Ratio | None:
    """Step time over that of E2E of a finished row."""
    readings = row.readings if row and row.status == "ok" else None
    if readings is None or not readings.step_seconds or not readings.reference_step_seconds:
        return None
    block = 2 * (readings.block_step_count or 0) or 1
    return paired_ratio(readings.step_seconds, readings.reference_step_seconds, block)


def summarise(changes: Sequence[RunChange]) -> str:
    """How many cases of each verdict: `1 grew, 15 same`."""
    counts = [(verdict, sum(verdict in change.verdicts for change in changes)) for verdict in VERDICTS]
    return ", ".join(f"{count} {verdict}" for verdict, count in counts if count)


def tabulate(changes: Sequence[RunChange]) -> list[Table]:
    """What is not the same, worst first: a table per workload and way of measuring."""
    tables: dict[object, list[RunChange]] = {}
    for change in sorted(changes, key=lambda change: VERDICTS.index(change.verdicts[0])):
        if change.verdicts != ("same",):
            row = change.measurement
            case = replace(row.case, method="", module_count=1, split_policy="")
            tables.setdefault((case, row.provenance, row.device, row.measure), []).append(change)
    return [_to_table(listed) for listed in tables.values()]


def _to_table(changes: Sequence[RunChange]) -> Table:
    first = changes[0].measurement
    made = "simulated for" if first.provenance == "simulated" else "measured on"
    words = [
        cells.name_workload(workload_of(first)),
        f"batch {first.case.batch_size}",
        *([] if first.case.data == "synthetic" else [f"data: {first.case.data}"]),
        *([] if first.measure == "step" else ["least memory"]),
        f"{made} {first.environment.device_name}",
    ]
    cases = [change.measurement.case for change in changes]
    return Table(
        title=", ".join(words),
        labels=(
            Column("", tuple(", ".join(change.verdicts) for change in changes), "left"),
            Column("Method", tuple(case.method for case in cases), "left"),
            Column("K", tuple(str(case.module_count) for case in cases)),
            Column("Split", tuple(case.split_policy if case.module_count > 1 else "" for case in cases), "left"),
        ),
        groups=(
            (
                Column("peak\nbefore, GiB", tuple(_peak(change.before) for change in changes)),
                Column("now\nGiB", tuple(_peak(change.after) for change in changes)),
                Column("change\n", tuple(format_change(peak_growth(change)) for change in changes)),
                Column("\nbytes", tuple(_difference(change) for change in changes)),
            ),
            (
                Column("x E2E\nbefore", tuple(_step(change.before) for change in changes)),
                Column("x E2E\nnow", tuple(_step(change.after) for change in changes)),
            ),
        ),
        rows=(),
        notes=(LEGEND, *(note for change in changes for note in _reasons(change))),
    )


def _reasons(change: RunChange) -> list[str]:
    """Why a case did not finish, or what its peak holds more or less of and where it moved."""
    before, after = change.before, change.after
    name = f"{change.measurement.case.method} K={change.measurement.case.module_count}"
    if after is not None and after.status != "ok":
        message = f": {after.message.strip().splitlines()[0]}" if after.message and after.message.strip() else ""
        return [f"{name}: {cells.in_words(after.status)}{f' in {after.phase}' if after.phase else ''}{message}"]
    if not {"grew", "shrank"} & {*change.verdicts} or before is None or after is None:
        return []
    held = name_differences(find_holders(change))
    old, new = before.readings.peak_phase, after.readings.peak_phase
    moved = f"peak at {new}" + ("" if old == new else f", before at {old}") if new else ""
    return [f"{name}: {'; '.join(filter(None, (held, moved)))}"] if held or moved else []


def find_holders(change: RunChange) -> tuple[Held, ...]:
    """Category, module and difference in bytes of what the peak holds; none where one side does not say it."""
    before, after = (row and row.readings.peak_holders for row in (change.before, change.after))
    if before is None or after is None:
        return ()
    return find_differences(*([(each.category, each.module, each.bytes) for each in side] for side in (before, after)))


def peak_growth(change: RunChange) -> float | None:
    """Relative growth of the peak; None where one side has none."""
    old, new = peak_of(change.before), peak_of(change.after)
    return None if not old or new is None else new / old - 1


def _difference(change: RunChange) -> str:
    old, new = peak_of(change.before), peak_of(change.after)
    return NOTHING if old is None or new is None else format_bytes(new - old)


def _peak(row: Measurement | None) -> str:
    return _shown(row, format_gib(peak_of(row)))


def _step(row: Measurement | None) -> str:
    step = step_of(row)
    return _shown(row, format_ratio(step.median, step.low, step.high) if step else NOTHING)


def _shown(row: Measurement | None, text: str) -> str:
    return "not run" if row is None else cells.in_words(row.status) if text == NOTHING else text


def to_json(change: RunChange) -> dict[str, Any]:
    """A change with raw values, for `--json`."""
    row = change.measurement
    names = ("network", "dataset", "method", "module_count", "split_policy", "batch_size")
    return {
        **{name: getattr(row.case, name) for name in names},
        "options": row.case.options,
        "provenance": row.provenance,
        "device": row.device,
        "verdicts": change.verdicts,
        "peak_growth": peak_growth(change),
        "peak_holders_change": [
            {"category": category, "module": module, "bytes": size} for category, module, size in find_holders(change)
        ],
        "before": _side(change.before),
        "after": _side(change.after),
    }


def _side(row: Measurement | None) -> dict[str, Any] | None:
    if row is None:
        return None
    step = step_of(row)
    return {
        "status": row.status,
        "peak_allocated_bytes": peak_of(row),
        "peak_phase": row.readings.peak_phase,
        "step_ratio": step and step.median,
        "step_ratio_low": step and step.low,
        "step_ratio_high": step and step.high,
    }
