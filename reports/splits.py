"""Peak memory by number of local modules, for every method and split policy of a run: as a table and as curves."""

from collections.abc import Sequence

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Column, Group, Table
from reports.panels import Panel, Point, Series
from reports.row import Row
from reports.units import format_gib, format_percent
from results.record import Measurement

LEGEND = "GiB: simulated peak. of E2E: beside that of end-to-end training. Empty: no such case in the run."

Line = tuple[str, str]
"""Method and split policy."""


def splits(measurements: Sequence[Measurement]) -> list[Table]:
    """Methods and split policies down, K across.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting with simulated local modules.

    Raises:
        ReportError: there are no measurements, or no simulated case of several modules.
    """
    return [_splits_table(comparison) for comparison in _cut(measurements)]


def split_panels(measurements: Sequence[Measurement]) -> list[Panel]:
    """K (x) and peak in GiB (y): a curve per method and policy, with a look per method.

    Dashes are of the policy, or where there is one alone of the method.
    """
    comparisons = _cut(measurements)
    lines = [line for comparison in comparisons for line in _lines(comparison)]
    methods, policies = (list(dict.fromkeys(names)) for names in zip(*lines, strict=True))
    return [_to_panel(comparison, methods, policies) for comparison in comparisons]


def _cut(measurements: Sequence[Measurement]) -> list[Comparison]:
    cut = [each for each in compare(measurements) if each.simulated and _lines(each)]
    if not cut:
        raise ReportError("nothing for splits: this run holds no simulated case of more than one local module")
    return cut


def _lines(comparison: Comparison) -> dict[Line, dict[int, Row]]:
    """Rows by method and policy, and by K."""
    lines: dict[Line, dict[int, Row]] = {}
    for row in comparison.rows:
        if row.module_count > 1:
            lines.setdefault((row.method, row.split_policy), {})[row.module_count] = row
    return lines


def _splits_table(comparison: Comparison) -> Table:
    lines = _lines(comparison)
    rows = [row for line in lines.values() for row in line.values()]
    counts = sorted({row.module_count for row in rows})
    e2e = comparison.e2e
    reference = f" E2E: {format_gib(e2e.peak_allocated_bytes)} GiB." if e2e and e2e.peak_allocated_bytes else ""
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: peak by split and number of local modules",
        labels=(
            Column("Method", tuple(method for method, _ in lines), align="left"),
            Column("Split", tuple(cells.shorten_split(next(iter(line.values()))) for line in lines.values()), "left"),
        ),
        groups=tuple(_columns_of(count, [line.get(count) for line in lines.values()]) for count in counts),
        rows=tuple(row for row in comparison.rows if row.module_count > 1 or row is e2e),
        notes=(
            f"{LEGEND}{reference}",
            "K: local modules. Split: the policy that places the boundaries, or sizes in units.",
            notes.memory_note(comparison),
            *notes.reference_notes(rows),
            *notes.problem_notes(comparison.simulated),
        ),
    )


def _columns_of(count: int, rows: Sequence[Row | None]) -> Group:
    peaks = [cells.simulated_or_why(row, format_gib(row.peak_allocated_bytes)) if row else "" for row in rows]
    ratios = [format_percent(row.peak_ratio) if row else "" for row in rows]
    return (Column(f"K={count}\nGiB", tuple(peaks)), Column("of\nE2E", tuple(ratios), source="simulated"))


def _to_panel(comparison: Comparison, methods: Sequence[str], policies: Sequence[str]) -> Panel:
    e2e, setting = comparison.e2e, comparison.simulated_setting
    where = f"simulated for {setting.device_name}, batch {setting.batch_size}" if setting else ""
    return Panel(
        title=f"{cells.name_workload(comparison.workload)}\n{where}",
        series=tuple(
            Series(
                f"{method}, {policy}" if len(policies) > 1 else method,
                tuple(
                    Point(count, row.peak_allocated_bytes / 2**30, tip=_in_words(row))
                    for count, row in sorted(line.items())
                    if row.peak_allocated_bytes is not None
                ),
                methods.index(method),
                policies.index(policy) if len(policies) > 1 else methods.index(method),
            )
            for (method, policy), line in _lines(comparison).items()
        ),
        level=e2e.peak_allocated_bytes / 2**30 if e2e and e2e.peak_allocated_bytes else None,
    )


def _in_words(row: Row) -> str:
    return (
        f"{cells.name_point(row)}: {format_gib(row.peak_allocated_bytes)} GiB, {format_percent(row.peak_ratio)} of E2E"
    )
