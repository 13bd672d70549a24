"""ContSup's Table 4: what every context costs in memory, and the error it was published with."""

from collections.abc import Sequence

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Column, Group, Table
from reports.published import Metric, published
from reports.row import Row, find_place
from reports.units import NOTHING, format_gigabytes, format_percent
from results.record import Measurement

SOURCE = "ContSup Table 4"
TOPOLOGIES = ("R0", "E", "R1", "R1E", "R2", "R4", "R8", "R8E", "R16", "M1R1E", "M2R1E")
"""Contexts in the order of the table; others of the run follow."""
LEGEND = (
    "Context: contsup[...]; R0 has none and is DGL. of E2E: beside end-to-end training, which the paper's table lacks. "
    "above R0: more than without context at the same K, from which what a machine always holds drops out. err.: "
    "published test error in per cent."
)


def topology(measurements: Sequence[Measurement]) -> list[Table]:
    """Simulated memory of every context by K, beside the published memory and test error.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset, setting and split policy.

    Raises:
        ReportError: there are no measurements, or none of ContSup with memory.
    """
    tables = []
    for comparison in compare(measurements):
        supplied = [row for row in comparison.rows if row.method.startswith("contsup[") and comparison.simulated]
        for policy in dict.fromkeys(row.split_policy for row in supplied):
            rows = [row for row in comparison.rows if _context_of(row) and row.split_policy == policy]
            tables.append(_topology_table(comparison, policy, rows))
    if not tables:
        raise ReportError("nothing for topology: no simulated case of this run supplies context; run contsup[R1], ...")
    return tables


def _context_of(row: Row) -> str | None:
    """`R1E` of `contsup[R1E]`, also with more options; None of other methods."""
    if row.method == "dgl":
        return "R0"
    return row.method.removeprefix("contsup[").removesuffix("]") if row.method.startswith("contsup[") else None


def _topology_table(comparison: Comparison, policy: str, rows: Sequence[Row]) -> Table:
    # contsup[R0] comes behind dgl, of which it is another name, and is the one that stays.
    found = {(_context_of(row), row.module_count): row for row in rows}
    counts = sorted({row.module_count for row in rows})
    run = [context for context, _ in found]
    printed = [name for name in TOPOLOGIES if any(_gigabytes(comparison, policy, name, count) for count in counts)]
    known = [name for name in TOPOLOGIES if name in {*run, *printed}]
    contexts = [*known, *dict.fromkeys(name for name in run if name and name not in TOPOLOGIES)]
    shown = list(found.values())
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: memory of context ({SOURCE})",
        labels=(Column("Context", tuple(contexts), align="left"),),
        groups=tuple(_columns_of(comparison, policy, contexts, found, count) for count in counts),
        rows=tuple(row for row in comparison.rows if row in shown or row.method == "e2e"),
        notes=(
            LEGEND,
            notes.split_note(rows),
            notes.memory_note(comparison),
            "-: no such value, or no such case. not run: the run does not hold the case.",
            notes.source_note([SOURCE] if printed else []),
            *notes.offset_notes(shown),
            *notes.reference_notes(rows),
            *notes.problem_notes(comparison.simulated),
        ),
    )


def _columns_of(
    comparison: Comparison,
    policy: str,
    contexts: Sequence[str],
    found: dict[tuple[str | None, int], Row],
    count: int,
) -> Group:
    unit, format_bytes = cells.peak_unit(list(found.values()))
    rows = [found.get((context, count)) for context in contexts]
    bare = found.get(("R0", count))
    printed = [_gigabytes(comparison, policy, context, count) for context in contexts]
    printed_bare = _gigabytes(comparison, policy, "R0", count)
    errors = [_publish(comparison, "test_error", policy, context, count) for context in contexts]

    def peak(row: Row | None, is_printed: bool) -> str:
        if row is None:
            return "not run" if is_printed else NOTHING
        return cells.simulated_or_why(row, format_bytes(row.peak_allocated_bytes))

    return (
        Column(
            f"K={count}\n{unit}",
            tuple(peak(row, value is not None) for row, value in zip(rows, printed, strict=True)),
            source="simulated",
        ),
        Column("of\nE2E", tuple(format_percent(row and row.peak_ratio) for row in rows), source="simulated"),
        Column(
            f"above\nR0, {unit}",
            tuple(
                format_bytes(_above(row and row.peak_allocated_bytes, bare and bare.peak_allocated_bytes))
                for row in rows
            ),
            source="simulated",
        ),
        Column("paper\nGB", tuple(map(format_gigabytes, printed)), source="published"),
        Column(
            "above\nR0, GB",
            tuple(format_gigabytes(_above(value, printed_bare)) for value in printed),
            source="published",
        ),
        Column(
            "paper\nerr.", tuple(NOTHING if error is None else f"{error:.2f}" for error in errors), source="published"
        ),
    )


def _gigabytes(comparison: Comparison, policy: str, context: str, count: int) -> float | None:
    return _publish(comparison, "training_memory", policy, context, count)


def _publish(comparison: Comparison, metric: Metric, policy: str, context: str, count: int) -> float | None:
    place = find_place(comparison.workload, f"contsup[{context}]", count, policy, 0)
    figure = published(metric, place, SOURCE)
    return figure and figure.value


def _above(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference
