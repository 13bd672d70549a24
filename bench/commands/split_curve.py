"""The part of `peakbench split` that shows the least peak by the number of modules."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.commands.split_modules import name_of

if TYPE_CHECKING:
    from bench.balanced import Balanced
    from bench.balancer import Balancer
    from partition.solve import Solution
    from results.record import Case

CURVE_WIDTH, SIZES_WIDTH = 24, 24


def print_all(case: "Case", balancer: "Balancer", figure: Path | None, *, as_json: bool) -> None:
    """The curve of all K: predicted, and the best of all simulated."""
    progress = Console(stderr=True)
    solutions = [
        balancer.least_peak(count)
        for count in track(
            range(1, balancer.most + 1),
            description="splits",
            console=progress,
            disable=as_json or not progress.is_terminal,
            transient=True,
        )
    ]
    best = min(solutions, key=lambda solution: (solution.predicted_peak_bytes, solution.added_flops))
    found = balancer.verify(best)
    rows = [_row(solution, balancer) for solution in solutions]
    rows[found.split.module_count - 1] |= {
        "split_sizes": list(found.split.sizes),
        "simulated_peak_allocated_bytes": found.peak_bytes,
    }
    _show(case, rows, found, figure, as_json=as_json)


def print_searched(case: "Case", found: "list[Balanced]", figure: Path | None, *, as_json: bool) -> None:
    """The curve of the numbers of modules whose splits were searched by simulation."""
    rows = [_simulated_row(each) for each in found]
    best = min(found, key=lambda each: (each.peak_bytes, each.readings.theoretical_overhead or 0))
    _show(case, rows, best, figure, as_json=as_json)


def _show(case: "Case", rows: list[dict[str, Any]], best: "Balanced", figure: Path | None, *, as_json: bool) -> None:
    if figure is not None:
        _draw_curve(case, rows, figure)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _print_curve(case, rows, best)


def _simulated_row(found: "Balanced") -> dict[str, Any]:
    return {
        "module_count": found.split.module_count,
        "split_sizes": list(found.split.sizes),
        "predicted_peak_allocated_bytes": None,
        "simulated_peak_allocated_bytes": found.peak_bytes,
        "lower_bound_bytes": found.lower_bound_bytes,
        "optimal": found.optimal,
        "module_bytes": [sum(parts.values()) for parts in found.modules()],
        "added_flops": None,
        "backbone_flops": None,
        "theoretical_overhead": found.readings.theoretical_overhead,
    }


def _peak(row: dict[str, Any]) -> int:
    """Predicted, or simulated where there is no prediction."""
    predicted = row["predicted_peak_allocated_bytes"]
    return row["simulated_peak_allocated_bytes"] if predicted is None else predicted


def _row(solution: "Solution", balancer: "Balancer") -> dict[str, Any]:
    profile = balancer.profile(solution.split.module_count)
    return {
        "module_count": solution.split.module_count,
        "split_sizes": list(solution.split.sizes),
        "predicted_peak_allocated_bytes": solution.predicted_peak_bytes,
        "simulated_peak_allocated_bytes": None,
        "lower_bound_bytes": solution.lower_bound_bytes,
        "optimal": solution.optimal,
        "module_bytes": list(solution.module_bytes),
        "added_flops": solution.added_flops,
        "backbone_flops": profile.backbone_flops,
        # Recomputation counts by its share of the step there, which the pieces do not know.
        "theoretical_overhead": None if profile.segments else solution.added_flops / profile.backbone_flops,
    }


def _print_curve(case: "Case", rows: list[dict[str, Any]], best: "Balanced") -> None:
    from reports.units import format_percent, memory_unit  # noqa: PLC0415

    largest = max(map(_peak, rows))
    unit, show = memory_unit(largest)
    console = Console()
    console.print(
        f"{case.method} · {case.network} · batch {case.batch_size}", style="bold", highlight=False, markup=False
    )
    table = Table("K", unit, "", "extra FLOPs", "sizes", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = table.columns[3].justify = "right"
    for row in rows:
        count, peak = row["module_count"], _peak(row)
        bar = "█" * max(1, round(CURVE_WIDTH * peak / largest)) + (" least" if count == best.split.module_count else "")
        added = (
            row["theoretical_overhead"] if row["added_flops"] is None else row["added_flops"] / row["backbone_flops"]
        )
        extra = format_percent(added)
        table.add_row(str(count), show(peak), bar, extra, _shorten(row["split_sizes"]))
    console.print(table, highlight=False)
    how = (
        f"Peaks are predicted from the pieces of a few simulated steps; the least, of K={best.split.module_count}, was "
        f"simulated: {show(best.peak_bytes)} {unit} allocated."
    )
    if best.predicted_peak_bytes is None:
        how = "Peaks are simulated, the best of a few splits of each K: others may be better."
    console.print(
        f"{how} Extra FLOPs: forwards of auxiliary and context networks, and those run again, over the backbone's. "
        f"Convolution workspaces: {best.readings.workspace}. All sizes: --json; one K: --modules.",
        style="dim",
        highlight=False,
    )


def _shorten(sizes: list[int]) -> str:
    text = ",".join(map(str, sizes))
    return text if len(text) <= SIZES_WIDTH else text[: SIZES_WIDTH - 2].rsplit(",", 1)[0] + ",.."


def _draw_curve(case: "Case", rows: list[dict[str, Any]], path: Path) -> None:
    from reports.charts import draw_chart  # noqa: PLC0415 - as above
    from reports.panels import PEAKS, Panel, Point, Series  # noqa: PLC0415

    points = [Point(row["module_count"], _peak(row) / 2**30) for row in rows]
    series = Series(f"{case.method}, balanced", tuple(points), look=0)
    draw_chart(PEAKS, [Panel(title=f"{name_of(case)}: least peak by K", series=(series,))], path)
