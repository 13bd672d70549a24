"""The reports: pure functions from measurements to tables, and the list of them by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reports import cells, notes
from reports.agreement import agreement_panels
from reports.charts import draw_bars, draw_chart
from reports.comparison import Comparison, ReportError, compare
from reports.contsup import table10, table12
from reports.device import device
from reports.holders import holder_bars, holders
from reports.infopro import imagenet, segmentation
from reports.inline_charts import Drawing, lay_out, lay_out_bars
from reports.layout import Group, Table, column
from reports.panels import AGREEMENT, PEAKS, TRADEOFF, Kind, Panel
from reports.row import Row
from reports.splits import split_panels, splits
from reports.topology import topology
from reports.tradeoff import front_panels, tradeoff
from reports.units import (
    format_change,
    format_gigabytes,
    format_millions,
    format_overhead,
    format_ratio,
)
from results.record import Measurement

Build = Callable[[Sequence[Measurement]], list[Table]]
Draw = Callable[[Sequence[Measurement], Path], None]

OVERHEAD_LEGEND = (
    "of E2E, x E2E: beside end-to-end training. extra FLOPs: auxiliary over backbone forwards, plus recomputation. "
    "params: millions, of all that is trained and of the network deployed. infer.: a forward pass of the latter."
)
MEMORY_LEGEND = (
    "saved: how far the peak is below that of E2E, end-to-end training. extra FLOPs: auxiliary over backbone forwards, "
    "plus recomputation. step time: what a step takes more than that of E2E."
)


def overhead(measurements: Sequence[Measurement]) -> list[Table]:
    """What every method costs beside E2E: memory, FLOPs, parameters, step and inference time, and what papers print.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting.

    Raises:
        ReportError: there are no measurements.
    """
    return [_overhead_table(comparison) for comparison in compare(measurements)]


def memory(measurements: Sequence[Measurement]) -> list[Table]:
    """Memory saved and what it costs, in the columns of InfoPro's Table 3; measured peaks beside simulated ones.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per network, dataset and setting.

    Raises:
        ReportError: there are no measurements.
    """
    comparisons = compare(measurements)
    rows = [row for comparison in comparisons for row in comparison.rows]
    return [_memory_table(comparison, notes.offset_notes(rows)) for comparison in comparisons]


@dataclass(frozen=True, slots=True)
class Chart:
    """The figure of a report."""

    build: Callable[[Sequence[Measurement]], list[Any]]
    """Its panels."""
    draw: Callable[[Sequence[Any], Path], None]
    """Write panels as a file."""
    lay_out: Callable[[Any], Drawing]
    """Place a panel on a page."""


def _chart(kind: Kind, build: Callable[[Sequence[Measurement]], list[Panel]]) -> Chart:
    return Chart(build, partial(draw_chart, kind), partial(lay_out, kind))


@dataclass(frozen=True, slots=True)
class Report:
    """A report the command line offers."""

    build: Build
    summary: str
    """One line for listings."""
    chart: Chart | None = None
    """Its figure; None where it has none."""


REPORTS = {
    "overhead": Report(overhead, "memory, FLOPs, parameters, step and inference time of every method beside E2E"),
    "memory": Report(
        memory,
        "memory saved and its price, as InfoPro's and MLAAN's Table 3; measured beside simulated",
        _chart(AGREEMENT, agreement_panels),
    ),
    "device": Report(device, "peaks of a GPU with the simulator's errors, least memory, host's share, energy, latency"),
    "topology": Report(topology, "memory of every context and its published error, as ContSup's Table 4"),
    "imagenet": Report(imagenet, "memory, overheads and published errors on ImageNet, as InfoPro's Table 4"),
    "segmentation": Report(segmentation, "memory, overheads and published scores on Cityscapes, as InfoPro's Table 5"),
    "holders": Report(
        holders, "what holds the peak of every case, by category", Chart(holder_bars, draw_bars, lay_out_bars)
    ),
    "splits": Report(splits, "peak memory by number of local modules, for every split", _chart(PEAKS, split_panels)),
    "tradeoff": Report(tradeoff, "memory against step time, with the Pareto front", _chart(TRADEOFF, front_panels)),
    "table10": Report(table10, "inference time of methods that keep context, as ContSup's Table 10"),
    "table12": Report(table12, "time of a training step, methods down and K across, as ContSup's Table 12"),
}


def find_report(name: str) -> Build:
    """The function that builds a report's tables.

    Raises:
        ReportError: no report has this name; says which there are.
    """
    return _find(name).build


def find_figure(name: str) -> Draw:
    """The function that draws a report's figure.

    Raises:
        ReportError: no report has this name, or it has no figure; says which there are.
    """
    chart = _find(name).chart
    if chart is None:
        drawn = [other for other, report in REPORTS.items() if report.chart]
        raise ReportError(f"report '{name}' has no figure; those that have: {', '.join(drawn)}")
    return lambda measurements, path: chart.draw(chart.build(measurements), path)


def _find(name: str) -> Report:
    if name not in REPORTS:
        raise ReportError(f"unknown report '{name}': there are {', '.join(REPORTS)}")
    return REPORTS[name]


def _overhead_table(comparison: Comparison) -> Table:
    rows = comparison.rows
    peak = cells.peak_beside_e2e(rows)
    parameters = (
        column("params\ntrained", rows, lambda row: format_millions(row.parameter_count), source="counted"),
        column("params\ndeployed", rows, lambda row: format_millions(row.deployed_parameter_count), source="counted"),
    )
    step = (
        column("step\nms", rows, cells.step_milliseconds, source="measured"),
        column("step\nx E2E", rows, cells.step_ratio, source="measured"),
        column("paper\nx E2E", rows, lambda row: format_ratio(row.published_step_ratio), source="published"),
    )
    inference = (
        column("infer.\nms", rows, cells.inference_milliseconds, source="measured"),
        column("infer.\nx E2E", rows, cells.inference_ratio, source="measured"),
        column("paper\nx E2E", rows, lambda row: format_ratio(row.published_inference_ratio), source="published"),
    )
    timed = ("published_step_ratio", "published_inference_ratio") if comparison.measured else ()
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: what each method costs beside E2E",
        labels=cells.label_columns(rows),
        groups=(
            *([peak] if comparison.simulated else []),
            _flops(rows),
            parameters,
            *([step, inference] if comparison.measured else []),
        ),
        rows=rows,
        notes=(
            OVERHEAD_LEGEND,
            *notes.condition_notes(comparison),
            notes.published_note(rows, "published_peak_ratio", "published_theoretical_overhead", *timed),
            *notes.reference_notes(rows),
            *notes.problem_notes((*comparison.simulated, *comparison.measured)),
        ),
    )


def _memory_table(comparison: Comparison, offsets: Sequence[str]) -> Table:
    rows = comparison.rows
    unit, format_bytes = cells.peak_unit(rows)
    peak = (
        cells.peak_column(rows),
        column("saved", rows, lambda row: cells.saved(row.peak_ratio), source="simulated"),
        column("paper\nGB", rows, lambda row: format_gigabytes(row.published_memory_gb), source="published"),
        column("paper\nsaved", rows, lambda row: cells.saved(row.published_peak_ratio), source="published"),
    )
    measured_peak = (
        column(
            f"measured\n{unit}",
            rows,
            lambda row: cells.measured_or_why(row, format_bytes(row.measured_peak_allocated_bytes)),
            source="measured",
        ),
        column("measured\nsaved", rows, lambda row: cells.saved(row.measured_peak_ratio), source="measured"),
        column("error of\nsimulated", rows, lambda row: format_change(row.simulation_error), source="measured"),
    )
    step = (
        column("step\ntime", rows, cells.step_overhead, source="measured"),
        column("paper", rows, lambda row: format_overhead(row.published_step_ratio), source="published"),
    )
    timed = ("published_step_ratio",) if comparison.measured else ()
    return Table(
        title=f"{cells.name_workload(comparison.workload)}: memory saved and its price",
        labels=cells.label_columns(rows),
        groups=(
            *([peak] if comparison.simulated else []),
            *([measured_peak] if any(row.measured_peak_allocated_bytes for row in rows) else []),
            _flops(rows),
            *([step] if comparison.measured else []),
        ),
        rows=rows,
        notes=(
            MEMORY_LEGEND,
            *notes.condition_notes(comparison),
            *notes.measured_memory_notes(comparison),
            notes.published_note(rows, "published_memory_gb", "published_theoretical_overhead", *timed),
            *offsets,
            *notes.reference_notes(rows),
            *notes.problem_notes((*comparison.simulated, *comparison.measured)),
        ),
    )


def _flops(rows: Sequence[Row]) -> Group:
    return (
        column("extra\nFLOPs", rows, lambda row: format_change(row.theoretical_overhead), source="counted"),
        column("paper", rows, lambda row: format_change(row.published_theoretical_overhead), source="published"),
    )
