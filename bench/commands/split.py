"""`peakbench split`: the best boundaries of a network under a method, with proof, and what else there is to choose."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cases import CaseError, make_case
from bench.commands.options import PluginFiles
from bench.commands.simulate import read_bytes
from bench.commands.split_segments import print_segments
from methods.registry import read_spec

if TYPE_CHECKING:
    from bench.balance import Balanced, Balancer
    from partition.solve import Solution
    from results.record import Case

BAR_WIDTH = 40
CURVE_WIDTH, SIZES_WIDTH = 24, 24
BARS = {"activations": "█", "auxiliary": "▓", "context": "▒", "transient": "░"}
"""What a module's bar is made of; the rest of its memory is held all through the step or left by earlier modules."""
TRANSIENT = ("temporary", "workspace")


def split(
    network: Annotated[str, typer.Argument(help="Backbone; see `peakbench networks`.", show_default=False)],
    method: Annotated[str, typer.Option(help="Method spec, such as dgl or 'infopro[softmax]'.")] = "infopro[softmax]",
    modules: Annotated[str, typer.Option(help="K, the number of local modules, or all.")] = "all",
    budget: Annotated[str | None, typer.Option(help="Most memory, such as 4GiB: the fewest modules that fit.")] = None,
    least_overhead: Annotated[
        bool, typer.Option("--least-overhead", help="With --budget: any number of modules, the least added FLOPs.")
    ] = False,
    segments: Annotated[
        int | None, typer.Option(min=1, help="With --method checkpoint: how many segments; any number by default.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset; the network's own by default.")] = None,
    batch: Annotated[int, typer.Option(help="Images per step.")] = 1024,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 or float16 by autocast.")] = "float32",
    memory_format: Annotated[str, typer.Option(help="contiguous or channels_last.")] = "contiguous",
    optimizer: Annotated[
        str | None, typer.Option(help="sgd as in the papers, adam or adamw; the method's own by default.")
    ] = None,
    device_profile: Annotated[str, typer.Option(help="Device that is modelled, or a .json file.")] = "H200",
    workspace: Annotated[
        str, typer.Option(help="Convolution workspaces: none, table, cudnn, bound, or measured:FILE.")
    ] = "none",
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the modules' memory, or the peak by K, as .png, .svg or .pdf as well."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    _plugin: PluginFiles = None,
) -> None:
    """The split of least peak memory into K modules, for every K, or for a budget; or segments to checkpoint.

    Example:  peakbench split resnet110 --method 'infopro[softmax]' --modules 4

    Example:  peakbench split resnet110 --method 'contsup[R1E]' --budget 2GiB

    Example:  peakbench split resnet110 --method checkpoint --budget 1.5GiB

    Example:  peakbench split resnet110 --method 'dgl+checkpoint[balanced]' --modules 4

    Example:  peakbench split resnet110 --modules 4 --figure modules.svg
    """
    count, budget_bytes, places_segments = _read_count(modules), read_bytes(budget), _places_segments(method)
    wrongs = (
        (
            budget is not None and count is not None,
            "a budget decides the number of modules: leave out --modules or --budget",
        ),
        (least_overhead and budget is None, "--least-overhead needs a --budget: without one, one module adds nothing"),
        (
            segments is not None and (not places_segments or budget is not None),
            "--segments goes with --method checkpoint, and without a --budget, which decides their number",
        ),
        (
            places_segments and (count or 1) > 1,
            "checkpointing trains the network as one module: use --segments instead of --modules",
        ),
        (
            places_segments and figure is not None,
            "--figure draws local modules; of checkpointed segments there is none yet",
        ),
    )
    for wrong, why in wrongs:
        if wrong:
            raise CaseError(why)
    case = make_case(
        method=method,
        network=network,
        dataset=dataset,
        module_count=count or 1,
        batch_size=batch,
        precision=precision,
        memory_format=memory_format,
        optimizer=optimizer,
    )
    from bench.balance import Balancer, search_by_simulation  # noqa: PLC0415 - torch only once the case is right
    from bench.cost_profile import ProfileError  # noqa: PLC0415
    from bench.simulator.model import read_model  # noqa: PLC0415

    model = read_model(device_profile, workspace=workspace)
    if places_segments:
        print_segments(case, model, count=segments, budget_bytes=budget_bytes, as_json=as_json)
        return
    try:
        balancer = Balancer(case, model)
    except ProfileError as error:
        if count is None:
            raise CaseError(f"{error}: give the number of modules, and splits are simulated one by one") from error
        _print_one(case, search_by_simulation(case, model), None, figure, as_json=as_json)
        return
    if budget_bytes is not None:
        found = balancer.verify_within(budget_bytes, least_overhead=least_overhead)
        _print_one(case, found, balancer, figure, as_json=as_json, budget_bytes=budget_bytes)
    elif count is None:
        _print_all(case, balancer, figure, as_json=as_json)
    else:
        _print_one(case, balancer.verify(balancer.least_peak(count)), balancer, figure, as_json=as_json)


def _places_segments(method: str) -> bool:
    """Whether a method checkpoints a network that is one module."""
    parts = read_spec(method).parts
    return parts.local_loss is None and parts.segments is not None


def _read_count(text: str) -> int | None:
    if text.strip() == "all":
        return None
    if not text.strip().isdecimal():
        raise CaseError(f"--modules is a whole number or 'all', not '{text}'")
    return int(text)


def _print_one(
    case: "Case",
    found: "Balanced",
    balancer: "Balancer | None",
    figure: Path | None,
    *,
    as_json: bool,
    budget_bytes: int | None = None,
) -> None:
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
    from reports.panels import Bar, BarPanel, stack  # noqa: PLC0415
    from reports.units import memory_unit  # noqa: PLC0415

    unit, show = memory_unit(found.peak_bytes)
    named = zip(found.split.sizes, modules, strict=True)
    bars = [
        Bar(label=f"module {number}, {size} unit{'s' if size > 1 else ''}", parts=stack(parts))
        for number, (size, parts) in enumerate(named, 1)
    ]
    panel = BarPanel(
        title=f"{_name(case)}, K = {len(bars)}: every module's highest point",
        bars=tuple(bars),
        mark=found.peak_bytes,
        mark_words=f"peak of the step, {show(found.peak_bytes)} {unit}",
    )
    draw_bars([panel], path)


def _draw_curve(case: "Case", solutions: "list[Solution]", path: Path) -> None:
    from reports.charts import draw_chart  # noqa: PLC0415 - as above
    from reports.panels import PEAKS, Panel, Point, Series  # noqa: PLC0415

    points = [Point(each.split.module_count, each.predicted_peak_bytes / 2**30) for each in solutions]
    series = Series(f"{case.method}, balanced", tuple(points), look=0)
    draw_chart(PEAKS, [Panel(title=f"{_name(case)}: least peak by K", series=(series,))], path)


def _name(case: "Case") -> str:
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
    )
    above = f"{format_change(peak / bound - 1)} of the lower bound, {show(bound)} {unit}"
    proof = {"bound": "optimal: the lower bound", "enumeration": f"optimal: all below simulated; {above}"}.get(
        facts["proof"], above
    )
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
        table.add_row(str(number), str(size), show(sum(parts.values())), _bar(parts, peak))
    console.print(table, highlight=False)
    legend = " ".join(f"{bar} {name}" for name, bar in BARS.items())
    console.print(f"{legend} · held by all of the step or left by earlier modules", style="dim", highlight=False)
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


def _print_all(case: "Case", balancer: "Balancer", figure: Path | None, *, as_json: bool) -> None:
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
    if figure is not None:
        _draw_curve(case, solutions, figure)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _print_curve(case, rows, found.split.module_count, found.readings.workspace)


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


def _print_curve(case: "Case", rows: list[dict[str, Any]], best: int, workspace: str | None) -> None:
    from reports.units import format_percent, memory_unit  # noqa: PLC0415

    largest = max(row["predicted_peak_allocated_bytes"] for row in rows)
    unit, show = memory_unit(largest)
    console = Console()
    console.print(
        f"{case.method} · {case.network} · batch {case.batch_size}", style="bold", highlight=False, markup=False
    )
    table = Table("K", unit, "", "extra FLOPs", "sizes", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = table.columns[3].justify = "right"
    for row in rows:
        count, peak = row["module_count"], row["predicted_peak_allocated_bytes"]
        bar = "█" * max(1, round(CURVE_WIDTH * peak / largest)) + (" least" if count == best else "")
        extra = format_percent(row["added_flops"] / row["backbone_flops"])
        table.add_row(str(count), show(peak), bar, extra, _shorten(row["split_sizes"]))
    console.print(table, highlight=False)
    simulated = rows[best - 1]["simulated_peak_allocated_bytes"]
    console.print(
        f"Peaks are predicted from the pieces of a few simulated steps; the least, of K={best}, was simulated: "
        f"{show(simulated)} {unit} allocated. Extra FLOPs: forwards of auxiliary and context networks, and those run "
        f"again, over the backbone's. Convolution workspaces: {workspace}. All sizes: --json; one K: --modules.",
        style="dim",
        highlight=False,
    )


def _shorten(sizes: list[int]) -> str:
    text = ",".join(map(str, sizes))
    return text if len(text) <= SIZES_WIDTH else text[: SIZES_WIDTH - 2].rsplit(",", 1)[0] + ",.."
