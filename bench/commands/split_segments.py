"""The part of `peakbench split` that places checkpointed segments of a network that is trained as one module."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from partition.runs import Runs, write_runs

if TYPE_CHECKING:
    from collections import Counter

    from bench.segments import Placed, Placer
    from bench.simulator.model import Model
    from results.record import Case

BAR_WIDTH = 32


def print_segments(
    case: "Case", model: "Model", figure: Path | None, *, count: int | None, budget_bytes: int | None, as_json: bool
) -> None:
    """Segments of least peak, or of least recomputation within a budget.

    Args:
        case: what is trained; its own segments count for nothing.
        model: the device.
        figure: file for a picture of every run's highest point.
        count: how many segments; None: any number.
        budget_bytes: most memory; None: the least there is.
        as_json: one JSON object.

    Raises:
        SplitError: there are no such segments; says what there is.
    """
    from bench.cost_profile import ProfileError  # noqa: PLC0415 - torch only once the case is right
    from bench.segments import Placer, search_segments  # noqa: PLC0415

    try:
        placer = Placer(case, model)
    except ProfileError:
        placer, placed = None, search_segments(case, model, count, budget_bytes)
    else:
        placed = placer.verify(placer.least_peak(count) if budget_bytes is None else placer.within_budget(budget_bytes))
    points = placed.highest_points()
    facts = _collect(placed, placer, points, budget_bytes)
    if figure is not None:
        _draw(placed, points, figure)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts, placed)


def _draw(placed: "Placed", points: "list[Counter[str]]", path: Path) -> None:
    from reports.charts import draw_bars  # noqa: PLC0415 - matplotlib is slow to import
    from reports.panels import peak_panel  # noqa: PLC0415

    parts_of = {
        f"run {number}, {len(run.units)} unit{'s' if len(run.units) > 1 else ''}{', kept' if run.kept else ''}": parts
        for number, (run, parts) in enumerate(zip(placed.runs, points, strict=True), 1)
    }
    case = placed.case
    title = f"checkpointed segments, {case.network}, batch {case.batch_size}: every run's highest point"
    draw_bars([peak_panel(title, parts_of, placed.peak_bytes)], path)


def _collect(
    placed: "Placed", placer: "Placer | None", points: "list[Counter[str]]", budget_bytes: int | None
) -> dict[str, Any]:
    rules = {
        name: {
            "segment_sizes": [len(run.units) for run in runs],
            "predicted_peak_allocated_bytes": peak,
        }
        for name, (runs, peak) in (placer.rules() if placer else {}).items()
    }
    return {
        "method": placed.case.method,
        "network": placed.case.network,
        "module_count": 1,
        "batch_size": placed.case.batch_size,
        "budget_bytes": budget_bytes,
        "segment_sizes": [len(run.units) for run in placed.runs],
        "segment_kept": [run.kept for run in placed.runs],
        "segment_bytes": [sum(parts.values()) for parts in points],
        "segment_categories": [dict(parts) for parts in points],
        "last_units": [name.removeprefix("layer") for name in _last_units(placed.runs, placed.unit_names)],
        "predicted_peak_allocated_bytes": placed.predicted_peak_bytes,
        "simulated_peak_allocated_bytes": placed.peak_bytes,
        "lower_bound_bytes": placed.lower_bound_bytes,
        "optimal": placed.optimal,
        "theoretical_overhead": placed.readings.theoretical_overhead,
        "workspace": placed.readings.workspace,
        "rules": rules,
    }


def _last_units(runs: Runs, unit_names: tuple[str, ...]) -> list[str]:
    return [unit_names[run.units[-1]] for run in runs[:-1]]


def _print(facts: dict[str, Any], placed: "Placed") -> None:
    from reports.units import format_change, format_percent, memory_unit  # noqa: PLC0415

    console = Console()
    peak, bound, predicted = placed.peak_bytes, placed.lower_bound_bytes, placed.predicted_peak_bytes
    unit, show = memory_unit(peak)
    console.print(
        f"checkpointed segments · {placed.case.network} · batch {placed.case.batch_size}",
        style="bold",
        highlight=False,
        markup=False,
    )
    if facts["budget_bytes"] is not None:
        proof = f"within {show(facts['budget_bytes'])} {unit}, with the least recomputation"
    elif placed.optimal:
        proof = "optimal: the lower bound"
    elif bound is None:
        proof = "the best of equal segments; no lower bound is known"
    else:
        proof = f"{format_percent(peak / bound - 1)} above the lower bound, {show(bound)} {unit}"
    lines = Table(box=None, pad_edge=False, show_header=False)
    kept = ", k: activations kept" if any(facts["segment_kept"]) else ""
    lines.add_row("[bold]segments[/bold]", f"{len(placed.runs)}: {write_runs(placed.runs)}{kept}")
    lines.add_row("[bold]peak allocated[/bold]", f"{show(peak)} {unit} simulated, {proof}")
    if predicted is not None and predicted != peak:
        lines.add_row("", f"{show(predicted)} {unit} predicted; blocks that are not split off are the difference")
    lines.add_row("[bold]extra FLOPs[/bold]", f"{format_percent(facts['theoretical_overhead'])} of the step's")
    for name, rule in facts["rules"].items():
        other = rule["predicted_peak_allocated_bytes"]
        lines.add_row(f"[bold]{name}[/bold]", f"{show(other)} {unit} predicted, {format_change(other / peak - 1)}")
    console.print(lines, highlight=False)
    console.print()
    table = Table("run", "last unit", unit, "", box=None, pad_edge=False, header_style="bold")
    table.columns[2].justify = "right"
    for number, (run, size) in enumerate(zip(placed.runs, facts["segment_bytes"], strict=True), start=1):
        bar = ("░" if run.kept else "█") * max(1, round(BAR_WIDTH * size / peak))
        table.add_row(str(number), placed.unit_names[run.units[-1]].removeprefix("layer"), show(size), bar)
    console.print(table, highlight=False)
    console.print(
        "█ recomputed ░ kept · highest point of each run, simulated; convolution workspaces: "
        f"{facts['workspace']}. 1 GiB = 2^30 bytes. The method of these segments:",
        style="dim",
        highlight=False,
    )
    console.print(f"'{facts['method']}'", highlight=False, markup=False, soft_wrap=True)
