"""A run on one page: every report that has something to show, with figures, environment and how to make it again."""

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare, workload_of
from reports.html import render_page
from reports.inline_charts import BOTTOM, RIGHT, TOP, WIDTH, Drawing
from reports.layout import Column, Table, trim
from reports.reproduce import to_commands, to_simulation, to_suite
from reports.tables import REPORTS, Report
from reports.units import NOTHING, format_percent
from results.record import Environment, Measurement

MOST_NAMED = 3
"""Workloads in a title."""
NEVER_COUNTED = ("The CUDA context and loaded kernels, which a machine's own tools count as memory.",)
FRAME = {"width": WIDTH, "right": WIDTH - RIGHT, "top": TOP, "bottom": BOTTOM}
"""What all charts have in common: width, right end, and the rooms above and below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A report on the page."""

    name: str
    title: str
    drawings: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    """What all its tables have in common."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why some of what could be here is not."""

    title: str
    lines: tuple[str, ...]


def to_page(measurements: Sequence[Measurement], arguments: Sequence[str]) -> str:
    """A whole page.

    Args:
        measurements: rows of one or several runs.
        arguments: the command line that asks for it, word by word, to be shown.

    Raises:
        ReportError: there are no measurements.
    """
    comparisons = compare(measurements)
    sections, left_out = [], []
    for name, report in REPORTS.items():
        try:
            sections.append(_to_section(name, report, measurements))
        except ReportError as error:
            left_out.append(f"{name}: {str(error).removeprefix(f'nothing for {name}: ')}")
    workloads = list(dict.fromkeys(cells.name_workload(each.workload) for each in comparisons))
    simulations = [to_simulation(row) for row in measurements if row.provenance == "simulated"]
    return render_page(
        title=f"peakbench: {_shorten(workloads)}",
        heading=_shorten(workloads),
        summary=_count(measurements),
        intro=_introduce(comparisons),
        sections=sections,
        missing=_missing(measurements, left_out),
        environments=_tabulate_environments(measurements),
        commands={
            "page": shlex.join(arguments),
            "run": to_commands(measurements),
            "suite": to_suite(measurements).rstrip(),
            "cases": list(dict.fromkeys(simulations)),
        },
        frame=FRAME,
    )


def _to_section(name: str, report: Report, measurements: Sequence[Measurement]) -> Section:
    tables = [trim(table) for table in report.build(measurements)]
    drawings: list[Drawing] = []
    if report.chart is not None:
        # Tables of memory need no measured peaks, their chart does.
        with suppress(ReportError):
            drawings = [report.chart.lay_out(panel) for panel in report.chart.build(measurements)]
    shared = notes.shared(tables)
    own = [[note for note in table.notes if note not in shared] for table in tables]
    return Section(
        name=name,
        title=report.summary,
        drawings=tuple(drawings),
        tables=tuple(replace(table, notes=tuple(kept)) for table, kept in zip(tables, own, strict=True)),
        notes=tuple(shared),
    )


def _shorten(workloads: Sequence[str]) -> str:
    """The first workloads by name, the others by their number."""
    shown = workloads if len(workloads) <= MOST_NAMED else workloads[: MOST_NAMED - 1]
    rest = len(workloads) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _count(measurements: Sequence[Measurement]) -> str:
    """`36 of 36 rows finished: 18 simulated, 18 measured, 2026-11-21`."""
    finished = sum(row.status == "ok" for row in measurements)
    kinds = Counter(row.provenance for row in measurements)
    days = sorted({row.started_at[:10] for row in measurements})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    ways = ", ".join(f"{kinds[kind]} {kind}" for kind in ("simulated", "measured") if kinds[kind])
    return f"{finished} of {len(measurements)} rows finished: {ways}, {span}."


def _introduce(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence per workload: what end-to-end training needs, and what needs least."""
    lines = []
    for comparison in comparisons:
        rows = [row for row in comparison.rows if row.peak_allocated_bytes is not None]
        e2e, setting = comparison.e2e, comparison.simulated_setting
        if not rows or setting is None or e2e is None or e2e.peak_allocated_bytes is None:
            continue
        unit, show = cells.peak_unit(rows)
        least = min(rows, key=lambda row: row.peak_allocated_bytes or 0)
        lines.append(
            f"{cells.name_workload(comparison.workload)}, batch {setting.batch_size}: end-to-end training (E2E) peaks "
            f"at {show(e2e.peak_allocated_bytes)} {unit}; least needs {cells.name_point(least)}, "
            f"{show(least.peak_allocated_bytes)} {unit}, {format_percent(least.peak_ratio)} of it. Simulated for "
            f"{setting.device_name}."
        )
    return list(dict.fromkeys(lines))


def _missing(measurements: Sequence[Measurement], left_out: Sequence[str]) -> list[Missing]:
    problems = [
        f"{cells.name_workload(workload_of(row))}: {problem}"
        for row in measurements
        for problem in notes.problem_notes([row])
    ]
    unfinished = problems or ["None: every row finished."]
    return [
        Missing("Cases that did not finish", tuple(unfinished)),
        *([Missing("Reports this run has nothing for", tuple(left_out))] if left_out else []),
        Missing("Never counted", NEVER_COUNTED),
    ]


def _tabulate_environments(measurements: Sequence[Measurement]) -> Table:
    """A column per kind of rows and environment."""
    found = list(dict.fromkeys((row.provenance, row.environment) for row in measurements))
    names = [field.name for field in fields(Environment) if any(getattr(each, field.name) for _, each in found)]
    columns = tuple(
        Column(f"{provenance} rows", tuple(_show(name, getattr(each, name)) for name in names), "left")
        for provenance, each in found
    )
    return Table(
        title="Where the rows were made",
        labels=(Column("", tuple(name.replace("_", " ") for name in names), "left"),),
        groups=(columns,),
        rows=(),
        notes=(f"{NOTHING}: not known. For simulated rows the device is the one that is modelled.",),
    )


def _show(name: str, value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if name.endswith("_bytes") else str(value)
