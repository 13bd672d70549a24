"""`peakbench simulate`: the peak of one case, without a GPU."""

import json
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.cases import make_case
from results.record import Case, Measurement


class Workspace(StrEnum):
    """Sources of convolution workspaces that the simulator knows."""

    NONE = "none"


def simulate(
    method: Annotated[str, typer.Argument(help="Method spec, such as e2e or 'infopro[contrast]'.", show_default=False)],
    network: Annotated[str, typer.Option(help="Backbone; see `peakbench networks`.")] = "resnet110",
    dataset: Annotated[str | None, typer.Option(help="Dataset; the network's own by default.")] = None,
    modules: Annotated[int, typer.Option(help="K, the number of local modules.")] = 1,
    split: Annotated[str, typer.Option(help="equal, sizes (13,14,14,14) or last units (1.11,2.7,3.3).")] = "equal",
    batch: Annotated[int, typer.Option(help="Images per step.")] = 1024,
    workspace: Annotated[Workspace, typer.Option(help="Source of convolution workspaces.")] = Workspace.NONE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")] = False,
) -> None:
    """Peak memory, FLOPs and parameters of one case, computed on tensors without data.

    Example:  peakbench simulate 'infopro[softmax]' --network resnet110 --modules 4 --batch 1024

    Example:  peakbench simulate e2e --network resnet32 --batch 512 --json
    """
    del workspace  # the one source there is
    case = make_case(
        method=method, network=network, dataset=dataset, module_count=modules, split=split, batch_size=batch
    )
    measurement = _simulate(case)
    if as_json:
        typer.echo(json.dumps(measurement.to_row(), indent=2))
    else:
        _print(measurement)


def _simulate(case: Case) -> Measurement:
    from bench.environment import read_environment  # noqa: PLC0415 - torch only once the case is known to be right
    from bench.simulator.simulate import simulate_case  # noqa: PLC0415

    started_at, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    readings = simulate_case(case)
    return Measurement(
        case=case,
        provenance="simulated",
        device="cuda",
        status="ok",
        started_at=started_at,
        wall_seconds=time.monotonic() - start,
        readings=readings,
        environment=read_environment(None),
    )


def _print(measurement: Measurement) -> None:
    from reports.units import format_gib, format_percent  # noqa: PLC0415

    case, readings = measurement.case, measurement.readings
    table = Table(box=None, pad_edge=False, show_header=False)
    sizes = ",".join(map(str, readings.split_sizes or ()))
    for name, value in (
        ("peak allocated", f"{format_gib(readings.peak_allocated_bytes)} GiB in a steady step"),
        ("", f"{format_gib(readings.first_step_peak_allocated_bytes)} GiB in the first step"),
        ("peak requested", f"{format_gib(readings.peak_requested_bytes)} GiB in a steady step"),
        ("peak is at", readings.peak_phase or ""),
        ("parameters", f"{readings.parameter_count:,} trained, {readings.deployed_parameter_count:,} deployed"),
        ("multiply-adds", f"{(readings.training_macs or 0) / 1e9:,.1f} G per training step"),
        ("", f"{(readings.inference_macs or 0) / 1e9:,.1f} G per inference batch"),
        ("overhead", f"{format_percent(readings.theoretical_overhead)} theoretical (FLOPs)"),
        ("split", f"{sizes} units"),
    ):
        table.add_row(f"[bold]{name}[/bold]", value)
    console = Console()
    title = (
        f"{case.method} · {case.network} · {case.dataset} {case.image_size}x{case.image_size} · batch {case.batch_size}"
    )
    console.print(title, style="bold", highlight=False, markup=False)
    console.print(table, highlight=False)
    console.print(
        "Simulated for CUDA, without library workspaces, segments or the CUDA context. 1 GiB = 2^30 bytes.",
        style="dim",
        highlight=False,
    )
