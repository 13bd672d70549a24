"""`peakbench methods`, `networks` and `suites`: what there is."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.commands.options import PluginFiles
from bench.suites import list_suites
from bench.workloads.networks import NETWORKS
from methods.datasets import write_image_size
from methods.registry import find_methods, plugin_problems

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def list_methods(as_json: Json = False, _plugin: PluginFiles = None) -> None:
    """Training methods, their options and sources; those of plugins last.

    Examples:  peakbench methods   |   peakbench methods --plugin mine.py
    """
    methods = find_methods()
    for problem in plugin_problems():
        typer.secho(f"warning: {problem}", fg="yellow", err=True)
    entries = [
        {
            "name": method.name,
            "summary": method.summary,
            "source": method.source,
            "begins": method.begins is not None,
            "follows": method.follows,
            "options": [
                {"name": o.name, "default": o.default, "values": o.values, "help": o.help}
                for o in (*method.begin_options, *method.options)
            ],
            "plugin": plugin,
        }
        for method, plugin in methods.values()
    ]
    if as_json:
        _print_json(entries)
        return
    console = Console()
    for method, plugin in methods.values():
        role = "" if method.begins is not None else "behind +: "
        console.print(f"[bold]{method.name}[/bold]  {role}{method.summary}", highlight=False)
        console.print(f"    source: {method.source}", style="dim", highlight=False)
        if plugin is not None:
            console.print(f"    from: {plugin}", style="dim", highlight=False, markup=False)
        for option in (*method.begin_options, *method.options):
            values = option.values.replace(option.default, f"[bold]{option.default}[/bold]", 1)
            unseen = "" if option.default in option.choices else f"  (default: [bold]{option.default}[/bold])"
            console.print(f"    {option.name}={values}{unseen}", highlight=False, soft_wrap=False)
            console.print(f"        {option.help}", style="dim", highlight=False)
    console.print(
        "\nWrite a method as name, name\\[value] or name\\[option=value]; add parts with +, as in\n"
        "infopro\\[contrast]+checkpoint\\[segments=3]. Defaults are bold.",
        highlight=False,
    )


def list_networks(as_json: Json = False) -> None:
    """Networks, their units and sizes.

    Examples:  peakbench networks   |   peakbench simulate e2e --network cifar_resnet56
    """
    entries = [
        {
            "name": name,
            "title": network.title,
            "dataset": network.dataset.name,
            "image_size": network.image_size_on(network.dataset),
            "unit_count": len(network.unit_names),
            "parameter_count": network.parameter_count,
            "unit_names": list(network.unit_names),
            "source": network.source,
        }
        for name, network in NETWORKS.items()
    ]
    if as_json:
        _print_json(entries)
        return
    console = Console()
    for name, network in NETWORKS.items():
        dataset, names = network.dataset, network.unit_names
        size = write_image_size(network.image_size_on(dataset))
        console.print(f"[bold]{name}[/bold]  {network.title}, {dataset.title} at {size} pixels", highlight=False)
        console.print(f"    {network.parameter_count:,} parameters in {len(names)} units, {names[0]} .. {names[-1]}")
        console.print(f"    source: {network.source}", style="dim", highlight=False)
    console.print(
        "\nAlso cifar_resnet<depth> for every depth 6n+2, and <network>@<pixels> or\n"
        "<network>@<height>x<width> for other image sizes.",
        highlight=False,
    )


def list_all_suites(as_json: Json = False) -> None:
    """Suites of cases that `peakbench run` takes.

    Examples:  peakbench suites   |   peakbench run cifar --out runs/cifar
    """
    entries = [
        {"name": suite.name, "title": suite.title, "case_count": len(suite.simulated_cases())}
        for suite in list_suites()
    ]
    if as_json:
        _print_json(entries)
        return
    _print_table(("suite", "cases", "what"), [(e["name"], str(e["case_count"]), e["title"]) for e in entries])


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print_table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
