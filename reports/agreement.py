"""Simulated against measured peaks, as a chart."""

from collections.abc import Sequence

from reports import cells
from reports.comparison import Comparison, ReportError, compare
from reports.panels import Panel, Point, Series
from reports.row import Row
from reports.units import format_change, format_gib
from results.record import Measurement


def agreement_panels(measurements: Sequence[Measurement]) -> list[Panel]:
    """Measured (x) and simulated (y) peaks in GiB of the cases that have both at one batch size.

    Raises:
        ReportError: there are no measurements, or none with both.
    """
    panels = [panel for comparison in compare(measurements) if (panel := _to_panel(comparison)).series]
    if not panels:
        raise ReportError(
            "nothing to draw: no case of this run has a simulated and a measured peak at one batch size; use a GPU"
        )
    return panels


def _to_panel(comparison: Comparison) -> Panel:
    rows = [row for row in comparison.rows if row.simulation_error is not None]
    methods = list(dict.fromkeys(row.method for row in rows))
    worst = max((abs(row.simulation_error or 0) for row in rows), default=0)
    setting = comparison.measured_setting
    where = f"measured on {setting.device_name}, batch {setting.batch_size}" if setting else ""
    error = f"largest error of {len(rows)} cases: {100 * worst:.2g}%"
    return Panel(
        title=f"{cells.name_workload(comparison.workload)}, {where}\n{error}",
        series=tuple(
            Series(
                method,
                tuple(
                    Point(
                        row.measured_peak_allocated_bytes / 2**30, row.peak_allocated_bytes / 2**30, tip=_in_words(row)
                    )
                    for row in rows
                    if row.method == method and row.measured_peak_allocated_bytes and row.peak_allocated_bytes
                ),
                look,
            )
            for look, method in enumerate(methods)
        ),
    )


def _in_words(row: Row) -> str:
    measured, simulated = map(format_gib, (row.measured_peak_allocated_bytes, row.peak_allocated_bytes))
    error = format_change(row.simulation_error)
    return f"{cells.name_point(row)}: measured {measured} GiB, simulated {simulated} GiB, {error}"
