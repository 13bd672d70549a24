"""Two tables of the ContSup paper in its own layout: inference time (Table 10) and step time (Table 12)."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Column, Table
from reports.row import NOT_RUN, Row
from reports.units import NOTHING, format_ratio
from results.record import Measurement

Key = TypeVar("Key")
CaseKey = tuple[int, str, str]
"""K, method and split policy: what a column of Table 10 is about."""


def table10(measurements: Sequence[Measurement]) -> list[Table]:
    """Inference time of methods that keep more than the backbone: networks down, K and method across.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per dataset and setting.

    Raises:
        ReportError: there are no measurements, or none of a method that deploys more parameters than E2E.
    """
    tables: dict[object, list[Comparison]] = {}
    for comparison in compare(measurements):
        if _keepers(comparison):
            settings = (comparison.simulated_setting, comparison.measured_setting)
            tables.setdefault((replace(comparison.workload, network=""), *settings), []).append(comparison)
    if not tables:
        raise ReportError(
            "nothing for table10: no case of this run deploys more parameters than its e2e row; run e2e and a method "
            "that keeps context, such as contsup[R1E]"
        )
    return [_inference_table(comparisons) for comparisons in tables.values()]


def table12(measurements: Sequence[Measurement]) -> list[Table]:
    """Time of a training step: methods down, K across; milliseconds, ratio to E2E, published ratio.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting that has step times.

    Raises:
        ReportError: there are no measurements, or none with step times.
    """
    timed = [each for each in compare(measurements) if any(row.step_seconds is not None for row in each.rows)]
    if not timed:
        raise ReportError("nothing for table12: this run holds no step times (simulated rows have none)")
    return [_step_table(comparison) for comparison in timed]


def _increase(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{100 * (ratio - 1):+z.1f}"


Lines = Mapping[str, Callable[[Row], str]]
INFERENCE_LINES: Lines = {
    "{}, ms": cells.inference_milliseconds,
    "  increase, %": lambda row: _increase(row.inference_ratio),
    "  paper, %": lambda row: _increase(row.published_inference_ratio),
    "  FLOPs, %": lambda row: _increase(row.inference_flops_ratio),
}
"""Lines of a network in Table 10: name and what a case says in it."""
INFERENCE_LEGEND = (
    "ms: a forward pass of the deployed network. E, R1E and so on: contsup[E], contsup[R1E]. increase, paper, "
    "FLOPs: what it takes more than the backbone alone."
)
STEP_LINES: Lines = {
    "{}": cells.step_milliseconds,
    "  x E2E": cells.step_ratio,
    "  paper": lambda row: format_ratio(row.published_step_ratio),
}
"""Lines of a method in Table 12."""


def _inference_table(comparisons: Sequence[Comparison]) -> Table:
    rows = sorted((row for each in comparisons for row in _keepers(each)), key=lambda row: row.module_count)
    heads = {_case_of(row): _head(row, rows) for row in rows}
    networks = [each.workload.network for each in comparisons]
    labels, columns = _stack(INFERENCE_LINES, networks, heads, {(row.network, _case_of(row)): row for row in rows})
    alone = {f"{each.workload.network}, ms": each.e2e for each in comparisons}
    backbone = [cells.inference_milliseconds(e2e) if (e2e := alone.get(label)) else "" for label in labels]
    return Table(
        title=f"{comparisons[0].workload.dataset}: inference of networks that keep context (ContSup Table 10)",
        labels=(Column("Network", labels, align="left"), Column("backbone\nalone", tuple(backbone), source="measured")),
        groups=tuple(
            tuple(Column(heads[case], columns[case]) for case in heads if case[0] == count)
            for count in dict.fromkeys(count for count, *_ in heads)
        ),
        rows=(*(each.e2e for each in comparisons if each.e2e), *rows),
        notes=(
            f"{INFERENCE_LEGEND}{_widest_interval(rows)}",
            notes.split_note(rows),
            notes.time_note(comparisons[0], [row.inference_count for row in rows]),
            notes.published_note(rows, "published_inference_ratio"),
            *notes.problem_notes([row for each in comparisons for row in each.measured]),
        ),
    )


def _step_table(comparison: Comparison) -> Table:
    rows = [row for row in comparison.rows if row.measured_status != NOT_RUN]
    names = list(dict.fromkeys(cells.name_case(row, rows) for row in rows))
    heads = {count: f"K={count}" for count in sorted({row.module_count for row in rows})}
    found = {(cells.name_case(row, rows), row.module_count): row for row in rows}
    labels, columns = _stack(STEP_LINES, names, heads, found)
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: time of a training step (ContSup Table 12)",
        labels=(Column("Method, ms", labels, align="left"),),
        groups=tuple((Column(head, columns[count]),) for count, head in heads.items()),
        rows=tuple(rows),
        notes=(
            "First line of a method: median step in ms. x E2E: that beside end-to-end training. Empty: no such case.",
            notes.split_note(rows),
            notes.time_note(comparison, [row.step_count for row in rows]),
            *notes.noise_notes(rows),
            notes.published_note(rows, "published_step_ratio"),
            *notes.problem_notes(comparison.measured),
        ),
    )


def _keepers(comparison: Comparison) -> list[Row]:
    """Rows that deploy more than the backbone."""
    backbone = comparison.e2e.deployed_parameter_count if comparison.e2e else None
    if backbone is None:
        return []
    return [row for row in comparison.rows if (row.deployed_parameter_count or 0) > backbone]


def _case_of(row: Row) -> CaseKey:
    return (row.module_count, row.method, row.split_policy)


def _head(row: Row, rows: Sequence[Row]) -> str:
    """`K=4` over the short name of the variant, such as `R1E`."""
    name = re.sub(r"^contsup\[(\w+)\]", r"\1", cells.name_case(row, rows))
    return f"K={row.module_count}\n{name}"


def _stack(
    lines: Lines, down: Sequence[str], across: Iterable[Key], found: Mapping[tuple[str, Key], Row]
) -> tuple[tuple[str, ...], dict[Key, tuple[str, ...]]]:
    """Several lines for each name; those without any value are left out, but for the first.

    Returns:
        The labels of the lines, and the cells of every column; a cell is empty where there is no such case.
    """
    labels: list[str] = []
    columns: dict[Key, list[str]] = {key: [] for key in across}
    for name in down:
        for number, (label, show) in enumerate(lines.items()):
            texts = {key: show(found[name, key]) if (name, key) in found else "" for key in columns}
            if number == 0 or set(texts.values()) - {"", NOTHING}:
                labels.append(label.format(name))
                for key, text in texts.items():
                    columns[key].append(text)
    return tuple(labels), {key: tuple(texts) for key, texts in columns.items()}


def _widest_interval(rows: Sequence[Row]) -> str:
    """How far the increases can be trusted, in points of per cent."""
    halves = [
        (row.inference_ratio_high - row.inference_ratio_low) / 2
        for row in rows
        if row.inference_ratio_low is not None and row.inference_ratio_high is not None
    ]
    return f" Half of a 95% interval of increase is at most {100 * max(halves):.1f} points." if halves else ""
