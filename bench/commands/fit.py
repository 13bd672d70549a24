"""`peakbench fit`: which method, split and batch train within an amount of memory, and what each adds."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from bench.cases import CaseError, make_case
from bench.commands import options
from bench.commands.simulate import read_bytes
from bench.simulator.profiles import load_profile
from bench.workloads.networks import get_network
from methods.registry import read_spec
from results.record import Case

if TYPE_CHECKING:
    from bench.fit import Device, Fit

METHODS = ("checkpoint", "dgl", "infopro[softmax]", "infopro[contrast]", "contsup[R1E]", "backlink", "mlaan")
"""Tried beside end-to-end backprop unless others are named."""
LARGEST = "largest"
TIME_LIMIT = 600.0
"""Seconds for one method with one K; a search for the largest batch simulates some ten batches."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the answer."""

    fit: "Fit"
    slowdown: float
    """FLOPs of a training step over those of end-to-end backprop for as many images."""


def fit(
    network: Annotated[str, typer.Argument(help="Backbone; see `peakbench networks`.", show_default=False)],
    memory: Annotated[
        str | None, typer.Option(help="Device memory, such as 16GiB; by default that of --device-profile.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Images per step, or largest: the most that fit.")] = "1024",
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method spec; may be given again. By default the known ones.", show_default=False),
    ] = None,
    modules: Annotated[str, typer.Option(help="Numbers K of local modules.")] = "2,4,8,16",
    split: Annotated[str, typer.Option(help="equal, balanced or another policy.")] = "equal",
    dataset: options.Dataset = None,
    precision: options.Precision = "float32",
    optimizer: options.Optimizer = None,
    context: Annotated[str, typer.Option(help="Left aside for the CUDA context, which is not modelled.")] = "512MiB",
    tf32: options.Tf32 = True,
    memory_format: options.MemoryFormat = "contiguous",
    cudnn_benchmark: options.CudnnBenchmark = False,
    device_profile: options.DeviceProfile = "H200",
    workspace: options.Workspace = "none",
    allocator: options.Allocator = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    _plugin: options.PluginFiles = None,
) -> None:
    """Which methods train a network within an amount of memory, those that add least arithmetic first.

    Exit code 1 where nothing fits.

    Example:  peakbench fit resnet110 --memory 4GiB

    Example:  peakbench fit resnet101 --device-profile RTX3090 --batch largest --method e2e --method 'infopro[softmax]'
    """
    device_bytes = read_bytes(memory)
    if device_bytes is None:
        device_bytes = load_profile(device_profile).memory_bytes
    left = device_bytes - (read_bytes(context) or 0)
    if left <= 0:
        raise CaseError(
            f"the context takes all the memory (context: {context}, memory: {memory or device_profile}; a number "
            "without a unit is bytes): raise --memory or lower --context"
        )
    largest = batch.strip() == LARGEST
    if not largest and not batch.strip().isdecimal():
        raise CaseError(f"--batch is a number of images or '{LARGEST}', not '{batch}'")

    def case_of(spec: str, count: int) -> Case:
        return make_case(
            method=spec,
            network=network,
            dataset=dataset,
            module_count=count,
            split=split if count > 1 else "equal",
            batch_size=2 if largest else int(batch),
            precision=precision,
            tf32=tf32,
            memory_format=memory_format,
            cudnn_benchmark=cudnn_benchmark,
            optimizer=optimizer,
            allocator=allocator,
        )

    units = len(get_network(network).unit_names)
    cases = [case_of("e2e", 1)]
    for spec in method or METHODS:
        counts = [1] if read_spec(spec).parts.local_loss is None else _read_counts(modules, units)
        cases += [case for case in (case_of(spec, count) for count in counts) if case not in cases]
    from bench.fit import Device  # noqa: PLC0415 - torch only once every case is known to be right

    device = Device(profile=device_profile, workspace=workspace, allocator=allocator, memory_bytes=left)
    device.model()  # refuses what cannot be, before anything runs
    problems: dict[Case, str] = {}
    question = "bench.fit:try_largest_batch" if largest else "bench.fit:try_case"
    found = list(_try_all(question, cases, device, lambda case, why: problems.update({case: why})))
    rows = _rank(found, cases[0])
    if as_json:
        typer.echo(json.dumps(_to_json(rows, problems, device), indent=2))
    else:
        _print(rows, problems, device, device_bytes, largest=largest)
    if not any(row.fit.fits for row in rows):
        raise typer.Exit(1)


def _read_counts(text: str, units: int) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise CaseError(f"--modules are whole numbers with commas between, not '{text}'")
    counts = [int(word) for word in words if int(word) <= units]
    if not counts:
        raise CaseError(f"too few units for the modules (units: {units}, modules: {text})")
    return counts


def _try_all(
    question: str, cases: list[Case], device: "Device", refuse: Callable[[Case, str], None]
) -> "Iterator[Fit]":
    """Ask for every case in a process of its own, as many at once as there are cores."""
    from bench.side_by_side import isolate_each  # noqa: PLC0415 - psutil only where processes are started

    outcomes = isolate_each(question, cases, device, time_limit=TIME_LIMIT)
    console = Console(stderr=True)
    for case, outcome in track(outcomes, "simulating", len(cases), console=console, transient=True):
        if outcome.status == "ok":
            yield outcome.result
        else:
            refuse(case, f"{outcome.status.replace('_', ' ')}: {outcome.message}")


def _rank(found: "list[Fit]", reference: Case) -> list[Row]:
    """What fits before what does not; then by slowdown, larger batches first, less memory first."""
    e2e = next((one for one in found if one.case.method == reference.method), None)
    if e2e is None:
        raise CaseError("end-to-end backprop, the reference of every slowdown, could not be simulated")
    per_image = e2e.training_flops / e2e.case.batch_size
    rows = [Row(one, one.training_flops / one.case.batch_size / per_image) for one in found]
    return sorted(
        rows,
        key=lambda row: (
            not row.fit.fits,
            round(row.slowdown, 4),
            -row.fit.case.batch_size,
            row.fit.least_memory_bytes or 0,
        ),
    )


def _to_json(rows: list[Row], problems: dict[Case, str], device: "Device") -> dict[str, object]:
    return {
        "memory_bytes": device.memory_bytes,
        "device_profile": device.profile,
        "workspace": device.workspace,
        "cases": [
            {
                "method": row.fit.case.method,
                "network": row.fit.case.network,
                "module_count": row.fit.case.module_count,
                "split_policy": row.fit.case.split_policy,
                "batch_size": row.fit.case.batch_size,
                "fits": row.fit.fits,
                "least_memory_bytes": row.fit.least_memory_bytes,
                "retries": row.fit.retries,
                "training_flops": row.fit.training_flops,
                "training_flops_ratio": row.slowdown,
            }
            for row in rows
        ],
        "not_simulated": {case.label: why for case, why in problems.items()},
    }


def _print(rows: list[Row], problems: dict[Case, str], device: "Device", device_bytes: int, *, largest: bool) -> None:
    from reports.units import format_change, format_gib  # noqa: PLC0415

    console = Console()
    case = rows[0].fit.case
    batch = "the largest batch that fits" if largest else f"batch {case.batch_size}"
    title = f"{case.network} · {case.dataset} · {batch} · {format_gib(device_bytes)} GiB"
    console.print(" · ".join((title, *case.options)), style="bold", highlight=False, markup=False)
    table = Table("method", "K", "split", "batch", "needs GiB", "extra FLOPs", "", box=None, pad_edge=False)
    for column in (1, 3, 4, 5):
        table.columns[column].justify = "right"
    for row in rows:
        one = row.fit
        words = "does not fit" if not one.fits else "tight" if one.retries else "fits"
        table.add_row(
            escape(one.case.method),
            str(one.case.module_count),
            one.case.split_policy if one.case.module_count > 1 else "",
            str(one.case.batch_size),
            format_gib(one.least_memory_bytes),
            format_change(row.slowdown - 1),
            words,
            style=None if one.fits else "dim",
        )
    console.print(table, highlight=False)
    for refused, why in problems.items():
        console.print(f"{refused.label}: not simulated, {why}", style="yellow", highlight=False, markup=False)
    if not largest and not any(row.fit.fits for row in rows):
        console.print("Nothing fits: --batch largest finds the largest batch of each that does.", highlight=False)
    unknown = any(row.fit.least_memory_bytes is None for row in rows)
    console.print(
        f"Needs: least memory of allocator segments with which three steps run, of {format_gib(device.memory_bytes)} "
        f"GiB beside the CUDA context; simulated for {device.profile}, convolution workspaces: {device.workspace}. "
        "Tight: only after cached memory went back to the device, which is slow. Extra FLOPs of a training step over "
        "end-to-end backprop foretell its slowdown. 1 GiB = 2^30 bytes."
        + " -: more than that device has, or allocator settings that rule such a number out."
        * unknown,
        style="dim",
        highlight=False,
    )
