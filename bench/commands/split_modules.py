"""The part of `peakbench split` that shows one split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections import Counter

    from bench.balanced import Balanced
    from bench.balancer import Balancer
    from results.record import Case

BAR_WIDTH = 40
FAR = 2
"""A bound below the peak by this factor is what all splits hold throughout: the distance to it says nothing."""
BARS = {"activations": "█", "auxiliary": "▓", "context": "▒", "transient": "░"}
"""What a module's bar is made of; the rest of its memory is held all through the step or left by earlier modules."""


def print_one(
    case: "Case",
    found: "Balanced",
    balancer: "Balancer | None",
    figure: Path | None,
    *,
    as_json: bool,
    budget_bytes: int | None = None,
) -> None:
    """One split: its boundaries, its proof, and what each module's highest point is made of.

    Args:
        case: what was asked about.
        found: the answer.
        balancer: where it comes from, for the heuristics; None: from simulating splits.
        figure: file for a picture.
        as_json: one JSON object.
        budget_bytes: most memory that was allowed.
    """
    count = found.split.module_count
    rivals = {}
    if balancer is not None:
        rivals = {name: (other, balancer.evaluate(other)) for name, other in balancer.heuristics(count).items()}
    names = found.unit_names
    modules = found.modules()
    facts: dict[str, Any] = {
        "method": found.case.method,
        "network": case.network,
        "module_count": count,
        "budget_bytes": budget_bytes,
        "batch_size": case.batch_size,
        "split_sizes": list(found.split.sizes),
        "last_units": [names[last].removeprefix("layer") for last in found.split.last_units[:-1]],
        "predicted_peak_allocated_bytes": found.predicted_peak_bytes,
        "simulated_peak_allocated_bytes": found.peak_bytes,
        "lower_bound_bytes": found.lower_bound_bytes,
        "optimal": found.optimal,
        "proof": found.proof,
        "module_bytes": [sum(parts.values()) for parts in modules],
        "module_categories": [dict(parts) for parts in modules],
        "theoretical_overhead": found.readings.theoretical_overhead,
        "workspace": found.readings.workspace,
        "training_round": found.simulation.training_round,
        "heuristics": {
            name: {"split_sizes": list(other.sizes), "predicted_peak_allocated_bytes": solution.predicted_peak_bytes}
            for name, (other, solution) in rivals.items()
        },
    }
    if figure is not None:
        _draw_modules(case, found, modules, figure)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    _print_facts(facts, modules)


def _draw_modules(case: "Case", found: "Balanced", modules: "list[Counter[str]]", path: Path) -> None:
    from reports.charts import draw_bars  # noqa: PLC0415 - matplotlib is slow to import
    from reports.panels import peak_panel  # noqa: PLC0415

    named = zip(found.split.sizes, modules, strict=True)
    parts_of = {
        f"module {number}, {size} unit{'s' if size > 1 else ''}": parts for number, (size, parts) in enumerate(named, 1)
    }
    title = f"{name_of(case)}, K = {len(modules)}: every module's highest point"
    draw_bars([peak_panel(title, parts_of, found.peak_bytes)], path)


def name_of(case: "Case") -> str:
    """Title of a picture."""
    return f"{case.method}, {case.network}, batch {case.batch_size}"


def _print_facts(facts: dict[str, Any], modules: "list[Counter[str]]") -> None:
    from reports.units import format_change, format_percent, memory_unit  # noqa: PLC0415

    console = Console()
    peak, bound = facts["simulated_peak_allocated_bytes"], facts["lower_bound_bytes"]
    unit, show = memory_unit(peak)
    console.print(
        f"{facts['method']} · {facts['network']} · K={facts['module_count']} · batch {facts['batch_size']}",
        style="bold",
        highlight=False,
        markup=False,
        soft_wrap=True,  # a spec with placed segments is long, and copied from here
    )
    if bound is None:
        above = "the best of those simulated; no lower bound is known"
    elif peak < FAR * bound:
        above = f"{format_percent(peak / bound - 1)} above the lower bound, {show(bound)} {unit}"
    else:
        above = f"the best of those simulated; the lower bound that is known, {show(bound)} {unit}, says little"
    proof = {
        "bound": "optimal: the lower bound",
        "enumeration": f"optimal: all that may be below were simulated; {above}",
    }.get(facts["proof"], above)
    if facts["budget_bytes"] is not None:
        proof = f"within {show(facts['budget_bytes'])} {unit}"
    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_row("[bold]sizes[/bold]", ",".join(map(str, facts["split_sizes"])))
    lines.add_row("[bold]last units[/bold]", ",".join(facts["last_units"]) or "-")
    lines.add_row("[bold]peak allocated[/bold]", f"{show(peak)} {unit} simulated, {proof}")
    lines.add_row("[bold]extra FLOPs[/bold]", f"{format_percent(facts['theoretical_overhead'])} of the backbone's")
    for name, rival in facts["heuristics"].items():
        other = rival["predicted_peak_allocated_bytes"]
        sizes = ",".join(map(str, rival["split_sizes"]))
        lines.add_row(f"[bold]{name}[/bold]", f"{show(other)} {unit} predicted, {format_change(other / peak - 1)}")
        lines.add_row("", f"[dim]{sizes}[/dim]")
    console.print(lines, highlight=False)
    console.print()
    table = Table("module", "units", unit, "", box=None, pad_edge=False, header_style="bold")
    table.columns[2].justify = "right"
    for number, (size, parts) in enumerate(zip(facts["split_sizes"], modules, strict=True), start=1):
        table.add_row(str(number), str(size), show(sum(parts.values()) or None), _bar(parts, peak))
    console.print(table, highlight=False)
    legend = " ".join(f"{bar} {name}" for name, bar in BARS.items())
    console.print(f"{legend} · held by all of the step or left by earlier modules", style="dim", highlight=False)
    if facts["training_round"] is not None:
        shown = f"the peak and the bars are those of round {facts['training_round']}; -: no part in it"
        words = f"Modules are trained in rounds: {shown}."
        console.print(words, style="dim", highlight=False)
    console.print(
        f"Each module's highest point, simulated; convolution workspaces: {facts['workspace']}. 1 GiB = 2^30 bytes.",
        style="dim",
        highlight=False,
    )


def _bar(parts: "Counter[str]", longest: int) -> str:
    """A module's memory as characters, in proportion to the peak."""
    text = ""
    total = 0
    for name, character in (*BARS.items(), ("held", "·")):
        total += parts[name]
        text += character * (round(BAR_WIDTH * total / longest) - len(text))
    return text
