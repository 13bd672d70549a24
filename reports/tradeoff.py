"""What memory costs in time: peak and step time beside end-to-end training, and the cases no other beats in both."""

from collections.abc import Sequence
from dataclasses import replace

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Table, column
from reports.panels import Panel, Point, Series
from reports.row import Row
from reports.units import NOTHING, format_overhead, format_percent, format_ratio
from results.record import Measurement

LEGEND = (
    "of E2E: simulated peak beside that of end-to-end training. step time: what a measured step takes more than that "
    "of E2E. front: no other case needs less of one and no more of the other, by medians. err.: published test error "
    "in per cent."
)


def tradeoff(measurements: Sequence[Measurement]) -> list[Table]:
    """Memory and step time of every case, and whether it lies on the Pareto front.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting with both.

    Raises:
        ReportError: there are no measurements, or none with both.
    """
    return [_tradeoff_table(comparison) for comparison in _known(measurements)]


def front_panels(measurements: Sequence[Measurement]) -> list[Panel]:
    """Peak in per cent of E2E (x) and step time in per cent more (y); K and published error beside each point."""
    comparisons = [each for each in _known(measurements) if _points(each.rows)]
    if not comparisons:
        raise ReportError("nothing to draw: no case has an e2e row of its own settings to take a ratio of memory to")
    methods = list(dict.fromkeys(row.method for comparison in comparisons for row in comparison.rows))
    return [_to_panel(comparison, methods) for comparison in comparisons]


def find_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points no other beats: is at most as large in both and smaller in one. Quadratic in their number.

    Returns:
        Their places, by the first coordinate.
    """

    def is_beaten(point: tuple[float, float]) -> bool:
        return any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)

    return sorted(
        (place for place, point in enumerate(points) if not is_beaten(point)), key=lambda place: points[place]
    )


def _known(measurements: Sequence[Measurement]) -> list[Comparison]:
    known = [each for each in compare(measurements) if any(_has_both(row) for row in each.rows)]
    if not known:
        raise ReportError(
            "nothing for tradeoff: no case of this run has both a simulated peak and step times beside those of e2e; "
            "run a suite that times its cases, such as smoke or cifar"
        )
    return known


def _has_both(row: Row) -> bool:
    """Of memory the ratio may be missing: the run has no e2e row with the method's optimizer, as BoostResNet's."""
    return row.peak_allocated_bytes is not None and row.step_ratio is not None


def _points(rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    """Peak and step time over those of E2E, by place in the rows that have both."""
    return {
        place: (row.peak_ratio, row.step_ratio)
        for place, row in enumerate(rows)
        if row.peak_ratio is not None and row.step_ratio is not None
    }


def _front_rows(rows: Sequence[Row]) -> list[Row]:
    points = _points(rows)
    places = list(points)
    return [rows[places[place]] for place in find_front(list(points.values()))]


def _tradeoff_table(comparison: Comparison) -> Table:
    rows = comparison.rows
    front = _front_rows(rows)
    memory = cells.peak_beside_e2e(rows)
    step = (
        column("step\ntime", rows, cells.step_overhead, source="measured"),
        column("paper\nx E2E", rows, lambda row: format_ratio(row.published_step_ratio), source="published"),
        column(
            "front", rows, lambda row: "yes" if row in front else "" if row.step_ratio else NOTHING, source="measured"
        ),
    )
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: memory against step time",
        labels=cells.label_columns(rows),
        groups=(memory, step, (column("paper\nerr.", rows, _error, source="published"),)),
        rows=rows,
        notes=(
            LEGEND,
            *notes.condition_notes(comparison),
            notes.published_note(rows, "published_peak_ratio", "published_step_ratio", "published_test_error"),
            *notes.reference_notes(rows),
            *notes.problem_notes((*comparison.simulated, *comparison.measured)),
        ),
    )


def _error(row: Row) -> str:
    return NOTHING if row.published_test_error is None else f"{row.published_test_error:.2f}"


def _to_panel(comparison: Comparison, methods: Sequence[str]) -> Panel:
    rows = comparison.rows
    points = {place: Point(100 * peak, 100 * (step - 1)) for place, (peak, step) in _points(rows).items()}
    front = _front_rows(rows)
    settings = (comparison.simulated_setting, comparison.measured_setting)
    batches = [setting.batch_size if setting else 0 for setting in settings]
    return Panel(
        title=f"{cells.name_workload(comparison.workload)}; memory simulated at batch {batches[0]},\n"
        f"time measured at batch {batches[1]}; beside a point K: published error",
        series=tuple(
            Series(
                method,
                tuple(
                    replace(point, words=_words(rows[place]), tip=_in_words(rows[place]))
                    for place, point in points.items()
                    if rows[place].method == method
                ),
                look,
            )
            for look, method in enumerate(methods)
        ),
        front=tuple(points[place] for row in front for place in points if rows[place] is row),
    )


def _words(row: Row) -> str:
    """K and the published error: `4: 7.3%`."""
    error = "" if row.published_test_error is None else f"{row.published_test_error:.1f}%"
    count = f"{row.module_count}" if row.module_count > 1 else ""
    return ": ".join(word for word in (count, error) if word)


def _in_words(row: Row) -> str:
    overhead = format_overhead(row.step_ratio, row.step_ratio_low, row.step_ratio_high)
    error = "" if row.published_test_error is None else f", published error {row.published_test_error:.2f}%"
    return f"{cells.name_point(row)}: {format_percent(row.peak_ratio)} of E2E's peak, step {overhead}{error}"
