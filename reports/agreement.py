"""Simulated against measured peaks, as a figure."""

from collections.abc import Sequence
from pathlib import Path

from reports import cells
from reports.charts import Panel, Point, Series, draw_agreement
from reports.comparison import Comparison, ReportError, compare
from results.record import Measurement


def draw_memory(measurements: Sequence[Measurement], path: Path) -> None:
    """Draw simulated over measured peaks.

    Raises:
        ReportError: as `agreement_panels`.
        FigureError: the file cannot be written, or its ending is not of a picture.
    """
    draw_agreement(agreement_panels(measurements), path)


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
                    Point(row.measured_peak_allocated_bytes / 2**30, row.peak_allocated_bytes / 2**30)
                    for row in rows
                    if row.method == method and row.measured_peak_allocated_bytes and row.peak_allocated_bytes
                ),
                look,
            )
            for look, method in enumerate(methods)
        ),
    )
