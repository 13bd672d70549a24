"""`peakbench validate`: the simulator against this machine's CUDA device."""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.commands.options import PluginFiles
from bench.suites import load_suite
from results.record import Case

if TYPE_CHECKING:
    from bench.ground_truth import GroundTruth
    from bench.validate import Comparison


def validate(
    suite: Annotated[str, typer.Argument(help="Suite whose cases are compared.")] = "smoke",
    out: Annotated[Path | None, typer.Option(help="Keep what the device said as ground truth (JSON).")] = None,
    time_limit: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="After which a case is stopped.")] = 300.0,
    total_limit: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="After which no case is begun.")
    ] = math.inf,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    _plugin: PluginFiles = None,
) -> None:
    """Peaks of the simulator beside those of the CUDA allocator, and the error of each case.

    The device is asked for its properties, for the workspace of every convolution, and for the peaks of every case in
    its first and its steady step; the simulator is told the first two.

    Exit code 1 where a case did not run on the device.

    Example:  peakbench validate cifar --out truth.json
    """
    from bench.ground_truth import write_ground_truth  # noqa: PLC0415 - as in run
    from bench.validate import ValidationError, compare, record_truth  # noqa: PLC0415

    console = Console(stderr=True)

    def show(cases: list[Case]) -> Iterable[Case]:
        return track(cases, description="cases", console=console, disable=not console.is_terminal)

    truth = record_truth(load_suite(suite).simulated_cases(), time_limit, show, total_limit)
    if out is not None:
        try:
            write_ground_truth(out, truth)
        except OSError as error:
            raise ValidationError(f"cannot write {out}: {error.strerror}; choose another --out") from error
    rows = compare(truth, time_limit)
    if as_json:
        cases = [asdict(row.truth) | {"simulated": row.simulated} for row in rows]
        typer.echo(json.dumps({"device": truth.device, "versions": truth.versions, "cases": cases}, indent=2))
    else:
        _print(truth, rows, Console())
    sys.exit(1 if any(row.truth.steady is None for row in rows) else 0)


def _print(truth: "GroundTruth", rows: "list[Comparison]", console: Console) -> None:
    """A line per case, then median and worst error of every kind of peak."""
    from bench.validate import PEAKS, summarise  # noqa: PLC0415
    from reports.units import format_gib  # noqa: PLC0415

    table = Table(
        "case, steady step", "allocated\nGiB", *(f"{kind}\nerror" for kind in PEAKS), box=None, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        name = row.truth.case.label.replace("[", "\\[")
        if row.truth.steady is None:
            table.add_row(name, row.truth.status.replace("_", " "))
            continue
        table.add_row(name, format_gib(row.truth.steady["allocated"]), *(_words(row.error(kind)) for kind in PEAKS))
    console.print(
        f"simulator beside {truth.device['title']}, torch {truth.versions['torch']}, "
        f"{len(truth.workspaces) - 1} layers with their workspaces",
        highlight=False,
    )
    console.print(table, highlight=False)
    console.print("error of a peak: simulated over measured, less one", highlight=False)
    for one in summarise(rows):
        words = f"{one.step} step, {one.kind}: {one.exact_count} of {one.case_count} exact"
        if one.worst:
            words += f", median error {100 * one.median:.3f}%, worst {_words(one.worst)} ({one.worst_label})"
        console.print(words, highlight=False, markup=False)


def _words(error: float | None) -> str:
    if error is None:
        return ""
    return "exact" if error == 0 else f"{100 * error:+.3f}%"
