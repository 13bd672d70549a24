"""What holds the peak of every case, by category: as a table and as bars."""

from collections import Counter
from collections.abc import Sequence

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Column, Table
from reports.panels import Bar, BarPanel, stack
from reports.row import Row
from reports.units import NOTHING, format_mib, format_percent
from results.record import Measurement
from results.samples import Holder

LEGEND = (
    "Categories add up to the peak. activations: outputs that a backward still needs; auxiliary: auxiliary networks "
    "with all they hold; temporary: made and dropped by one operation; workspace: "
    "what cuBLAS holds, and convolutions where theirs are counted. most in: the local module that holds most of "
    "it, and how much."
)


def holders(measurements: Sequence[Measurement]) -> list[Table]:
    """Bytes of every category at the peak.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting with simulated peaks.

    Raises:
        ReportError: there are no measurements, or none that say what holds their peak.
    """
    return [_to_table(comparison) for comparison in _known(measurements)]


def holder_bars(measurements: Sequence[Measurement]) -> list[BarPanel]:
    """A bar per case, made of its categories."""
    return [_to_panel(comparison) for comparison in _known(measurements)]


def _known(measurements: Sequence[Measurement]) -> list[Comparison]:
    known = [each for each in compare(measurements) if any(map(_holders_of, each.simulated))]
    if not known:
        raise ReportError("nothing for holders: no row of this run says what holds its peak; simulate it again")
    return known


def _holders_of(row: Measurement) -> tuple[Holder, ...]:
    return row.readings.peak_holders or () if row.status == "ok" else ()


def _held(comparison: Comparison) -> list[tuple[Row, tuple[Holder, ...]]]:
    """Simulated rows with what holds their peaks."""
    found = {(row.case.method, row.case.module_count, row.case.split_policy): row for row in comparison.simulated}
    pairs = [(row, found.get((row.method, row.module_count, row.split_policy))) for row in comparison.rows]
    return [(row, _holders_of(source)) for row, source in pairs if source is not None]


def _by_category(held: Sequence[Holder]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for each in held:
        sizes[each.category] += each.bytes
    return sizes


def _to_table(comparison: Comparison) -> Table:
    held = _held(comparison)
    rows = [row for row, _ in held]
    sizes = [_by_category(each) for _, each in held]
    categories = [name for name, _ in stack(sum(sizes, Counter()))]
    peaks = [cells.simulated_or_why(row, format_mib(row.peak_allocated_bytes)) for row in rows]
    peak = (
        Column("peak\nMiB", tuple(peaks), source="simulated"),
        Column("most in\nmodule", tuple(_name_module(each) for _, each in held), source="simulated"),
    )
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: what holds the peak",
        labels=cells.label_columns(rows),
        groups=(
            peak,
            *(
                (
                    Column(
                        f"{name}\nMiB" if " " not in name else f"{name.replace(' ', chr(10))}, MiB",
                        tuple(format_mib(each.get(name, 0)) if each else NOTHING for each in sizes),
                        source="simulated",
                    ),
                )
                for name in categories
            ),
        ),
        rows=tuple(rows),
        notes=(
            LEGEND,
            notes.split_note(rows),
            notes.memory_note(comparison),
            *notes.problem_notes(comparison.simulated),
        ),
    )


def _name_module(held: Sequence[Holder]) -> str:
    """`2, 61%`: the module that holds most, and its share of the peak."""
    sizes: Counter[int] = Counter()
    for each in held:
        if each.module is not None:
            sizes[each.module] += each.bytes
    if not sizes:
        return NOTHING
    module, size = sizes.most_common(1)[0]
    return f"{module + 1}, {format_percent(size / sum(each.bytes for each in held))}"


def _to_panel(comparison: Comparison) -> BarPanel:
    setting = comparison.simulated_setting
    where = f"simulated for {setting.device_name}, batch {setting.batch_size}" if setting else ""
    bars = [
        Bar(label=cells.name_point(row), parts=stack(_by_category(each))) for row, each in _held(comparison) if each
    ]
    return BarPanel(title=f"{cells.name_workload(comparison.workload)}: what holds the peak, {where}", bars=tuple(bars))
