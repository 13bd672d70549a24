"""`peakbench validate`: the simulator against this machine's CUDA device."""

import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.suites import load_suite


def validate(
    suite: Annotated[str, typer.Argument(help="Suite whose cases are compared.")] = "smoke",
    out: Annotated[Path | None, typer.Option(help="Keep what the device said as ground truth (JSON).")] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds after which a case is stopped.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Peaks of the simulator beside those of the CUDA allocator, and the error of each case.

    Exit code 1 where a case did not run on the device.

    Example:  peakbench validate cifar --out truth.json
    """
    from bench.validate import PEAKS, compare_case, read_device, write_ground_truth  # noqa: PLC0415 - as in run
    from reports.units import format_gib  # noqa: PLC0415

    cases = load_suite(suite).simulated_cases()
    device = read_device()
    console = Console(stderr=True)
    shown = track(cases, description="cases", console=console, disable=not console.is_terminal)
    rows = [compare_case(case, time_limit) for case in shown]
    if out is not None:
        write_ground_truth(out, device, rows)
    if as_json:
        typer.echo(json.dumps({"device": device, "cases": [asdict(row) for row in rows]}, indent=2))
    else:
        table = Table("case", *(f"{kind}\nGiB" for kind in PEAKS), *("error",) * 3, box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            name = f"{row.case.method} {row.case.network} K={row.case.module_count}".replace("[", "\\[")
            if row.measured is None:
                table.add_row(name, row.status)
                continue
            errors = [row.error(kind) or 0.0 for kind in PEAKS]
            table.add_row(
                name,
                *(format_gib(row.measured[kind]) for kind in PEAKS),
                *("exact" if error == 0 else f"{100 * error:+.3f}%" for error in errors),
            )
        print_to = Console()
        print_to.print(f"simulator beside {device['name']}, torch {device['torch']}", highlight=False)
        print_to.print(table, highlight=False)
        print_to.print(f"error of {', '.join(PEAKS)} peak: simulated over measured, less one", highlight=False)
        for kind in PEAKS:
            errors = [abs(row.error(kind) or 0.0) for row in rows if row.measured]
            if errors:
                exact = sum(error == 0 for error in errors)
                print_to.print(
                    f"{kind}: {exact} of {len(errors)} exact, median error {100 * statistics.median(errors):.3f}%, "
                    f"worst {100 * max(errors):.3f}%",
                    highlight=False,
                )
    sys.exit(1 if any(row.measured is None for row in rows) else 0)
