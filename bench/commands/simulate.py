"""`peakbench simulate`: the peak of one case without a GPU, and what holds it."""

import csv
import json
import re
import time
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.cases import CaseError, make_case
from bench.commands import options
from results.record import Case, Measurement, Readings

if TYPE_CHECKING:
    from bench.simulator.model import Model
    from bench.simulator.simulate import Simulation

SHOWN = 8
"""Lines of a list of holders."""


def simulate(
    method: Annotated[str, typer.Argument(help="Method spec, such as e2e or 'infopro[contrast]'.", show_default=False)],
    network: Annotated[str, typer.Option(help="Backbone; see `peakbench networks`.")] = "resnet110",
    dataset: options.Dataset = None,
    modules: Annotated[int, typer.Option(help="K, the number of local modules.")] = 1,
    split: Annotated[
        str,
        typer.Option(help="equal, balanced, merge_stem, released, sizes (13,14,14,14) or last units (1.11,2.7,3.3)."),
    ] = "equal",
    batch: options.Batch = 1024,
    precision: options.Precision = "float32",
    tf32: options.Tf32 = True,
    memory_format: options.MemoryFormat = "contiguous",
    cudnn_benchmark: options.CudnnBenchmark = False,
    optimizer: options.Optimizer = None,
    device_profile: options.DeviceProfile = "H200",
    workspace: options.Workspace = "none",
    allocator: options.Allocator = "",
    limit: Annotated[
        str | None, typer.Option(help="Most memory of segments, such as 2.5GiB: would it run out?")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write the steady step's memory over events: a picture, and a .csv beside it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")] = False,
    _plugin: options.PluginFiles = None,
) -> None:
    """Peak memory, what holds it, FLOPs and parameters of one case, computed on tensors without data.

    Exit code 1 where the step does not fit within --limit.

    Example:  peakbench simulate 'infopro[softmax]' --network resnet110 --modules 4 --batch 1024

    Example:  peakbench simulate e2e --limit 4GiB --allocator expandable_segments:True --timeline step.png
    """
    case = make_case(
        method=method,
        network=network,
        dataset=dataset,
        module_count=modules,
        split=split,
        batch_size=batch,
        precision=precision,
        tf32=tf32,
        memory_format=memory_format,
        cudnn_benchmark=cudnn_benchmark,
        optimizer=optimizer,
        allocator=allocator,
    )
    limit_bytes = read_bytes(limit)
    from bench.simulator.model import read_model  # noqa: PLC0415 - torch only once the case is known to be right

    model = read_model(device_profile, workspace=workspace, limit_bytes=limit_bytes)
    measurement, simulation, rounds = _simulate(case, model)
    if timeline is not None:
        _write_timeline(case, simulation, timeline)
    if as_json:
        held = [
            {"category": category, "module": module, "unit": unit, "bytes": size}
            for (category, module, unit), size in simulation.holders().most_common()
        ]
        parts = {"rounds": [asdict(one) for one in rounds]} if len(rounds) > 1 else {}
        parts |= {"peak_holders_by_unit": held, "retries": _list_retries(simulation)}
        typer.echo(json.dumps(measurement.to_row() | parts, indent=2))
    else:
        _print(measurement, simulation, rounds, limit_bytes)
    if simulation.failure:
        raise typer.Exit(1)


def read_bytes(text: str | None) -> int | None:
    """Bytes of `2.5GiB`, `800 MiB` or `1000000`.

    Raises:
        CaseError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|TiB|B|)\s*", text)
    if match is None:
        raise CaseError(f"cannot read '{text}' as an amount of memory: write 2.5GiB, 800MiB or bytes")
    return int(float(match[1]) * 2 ** (10 * ["B", "KiB", "MiB", "GiB", "TiB"].index(match[2] or "B")))


def _simulate(case: Case, model: "Model") -> "tuple[Measurement, Simulation, list[Readings]]":
    from bench.environment import read_environment  # noqa: PLC0415 - as above
    from bench.simulator.least_memory import find_least_memory_of_all  # noqa: PLC0415
    from bench.simulator.simulate import join_rounds, simulate_rounds  # noqa: PLC0415

    started_at, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    model = model.for_case(case)
    rounds = simulate_rounds(case, model)
    readings, simulation = join_rounds(rounds)
    least = find_least_memory_of_all([one.simulation.stream for one in rounds], model.settings)
    readings = replace(readings, least_memory_bytes=least)
    failed = simulation.failure
    measurement = Measurement(
        case=case,
        provenance="simulated",
        device="cuda",
        status="out_of_memory" if failed else "ok",
        phase=simulation.failed_place if failed else None,
        message=failed,
        started_at=started_at,
        wall_seconds=time.monotonic() - start,
        readings=readings,
        environment=read_environment(model.name),
    )
    return measurement, simulation, [one.readings for one in rounds]


def _print(measurement: Measurement, simulation: "Simulation", rounds: list[Readings], limit_bytes: int | None) -> None:
    from reports.units import format_gib, format_percent  # noqa: PLC0415

    case, readings = measurement.case, measurement.readings
    console = Console()
    size = "x".join(map(str, case.height_and_width))
    title = f"{case.method} · {case.network} · {case.dataset} {size} · K={case.module_count} · batch {case.batch_size}"
    title = " · ".join((title, *case.options))
    console.print(title, style="bold", highlight=False, markup=False)
    if simulation.failure:
        console.print(f"out of memory at {simulation.failure}", highlight=False, markup=False, soft_wrap=True)
    lines = Table(box=None, pad_edge=False, show_header=False)
    for name in ("allocated", "requested", "reserved"):
        first, steady = (
            format_gib(getattr(peak, f"{name}_bytes", None)) for peak in (simulation.first, simulation.steady)
        )
        words = f"{steady} GiB in a steady step, {first} in the first"
        if simulation.failure:
            words = f"{first if simulation.steady is None else steady} GiB before memory ran out"
            words = words if simulation.peak else "no step began"
        lines.add_row(f"[bold]peak {name}[/bold]", words)
    training, inference = ((macs or 0) / 1e9 for macs in (readings.training_macs, readings.inference_macs))
    facts = [
        ("peak is at", simulation.peak_place or "-"),
        ("", f"in {simulation.peak.operator}" if simulation.peak and simulation.peak.operator else ""),
        ("least memory", f"{format_gib(readings.least_memory_bytes)} GiB of segments still train"),
        ("limit", "" if limit_bytes is None or simulation.failure else f"{format_gib(limit_bytes)} GiB is enough"),
        *_describe_retries(simulation),
        ("parameters", f"{readings.parameter_count:,} trained, {readings.deployed_parameter_count:,} deployed"),
        ("multiply-adds", f"{training:,.1f} G a training step, {inference:,.1f} G an inference batch"),
        ("extra FLOPs", f"{format_percent(readings.theoretical_overhead)} of the backbone's"),
        ("split", ",".join(map(str, readings.split_sizes or ()))),
    ]
    for name, value in facts:
        if value:
            lines.add_row(f"[bold]{name}[/bold]", value)
    console.print(lines, highlight=False)
    if len(rounds) > 1:
        _print_rounds(rounds, console)
    if simulation.peak:
        _print_holders(simulation, console)
    console.print(
        f"Simulated for {measurement.environment.device_name}, convolution workspaces: {readings.workspace}; without "
        "the CUDA context. 1 GiB = 2^30 bytes.",
        style="dim",
        highlight=False,
    )


def _list_retries(simulation: "Simulation") -> list[dict[str, object]]:
    """Requests that were served only after memory went back to the device; step 0 is before the first."""
    return [
        {
            "step": simulation.step_of(retry.event),
            "place": str(simulation.stream.events[retry.event].place),
            "efforts": [asdict(effort) for effort in retry.efforts],
        }
        for retry in simulation.ledger.retries
    ]


def _describe_retries(simulation: "Simulation") -> list[tuple[str, str]]:
    """How many requests were served only after memory went back to the device, and the first of them."""
    from bench.simulator.simulate import describe  # noqa: PLC0415 - as above

    retries = simulation.ledger.retries
    if not retries:
        return []
    by_step = simulation.retries_by_step()
    words = ", ".join(f"{count} in step {step}" if step else f"{count} before" for step, count in by_step.items())
    first = f"first at {simulation.locate(retries[0].event)}: {describe(retries[0].efforts)}"
    return [("retries", f"{len(retries)} ({words}): memory went back to the device to serve a request"), ("", first)]


def _print_rounds(rounds: list[Readings], console: Console) -> None:
    """Peak and multiply-adds of every round of a method that trains modules one after the other."""
    from reports.units import format_gib  # noqa: PLC0415

    table = Table("round", "peak allocated\nGiB", "a training step\nG multiply-adds", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for number, one in enumerate(rounds, 1):
        table.add_row(str(number), format_gib(one.peak_allocated_bytes), f"{(one.training_macs or 0) / 1e9:,.1f}")
    console.print()
    console.print(table, highlight=False)
    console.print("multiply-adds above are those of one step of every round", style="dim", highlight=False)


def _print_holders(simulation: "Simulation", console: Console) -> None:
    """What holds the peak, by category and by unit; each list adds up to it."""
    from reports.units import format_mib, format_percent  # noqa: PLC0415

    held = simulation.holders()
    total = held.total()
    categories: Counter[str] = Counter()
    owners: Counter[str] = Counter()
    for (category, module, unit), size in held.items():
        categories[category] += size
        place = "" if module is None else f"module {module + 1}"
        owners[", ".join(filter(None, (unit or category, place)))] += size
    rest = owners.most_common()[SHOWN:]
    places = owners.most_common(SHOWN)
    if rest:
        places.append((f"{len(rest)} more places", sum(size for _, size in rest)))
    for title, rows in (("what holds the peak", categories.most_common()), ("and where it was made", places)):
        table = Table(title, "MiB", "share", box=None, pad_edge=False, header_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, size in rows:
            table.add_row(name, format_mib(size), format_percent(size / total))
        console.print()
        console.print(table, highlight=False)
    console.print()


def _write_timeline(case: Case, simulation: "Simulation", path: Path) -> None:
    """The last step that began, as a picture and as numbers beside it."""
    from bench.simulator.ledger import by_category  # noqa: PLC0415
    from bench.simulator.stream import CATEGORIES  # noqa: PLC0415
    from reports.figures import Timeline, draw_timeline  # noqa: PLC0415 - matplotlib is slow to import

    stream, ledger, peak = simulation.stream, simulation.ledger, simulation.peak
    if peak is None:
        raise CaseError("there is no timeline: memory runs out before the first step begins")
    events = stream.step_events(len(stream.steps) - 1 if simulation.steady else 0)
    rows = by_category(stream, ledger, events)
    reserved = ledger.reserved[events.start : events.start + len(rows)]
    categories = {name: [row.get(name, 0) for row in rows] for name in CATEGORIES}
    numbers = path.with_suffix(".csv")
    try:
        draw_timeline(
            Timeline(
                title=f"{case.method}, {case.network}, K = {case.module_count}, batch {case.batch_size}",
                categories=categories,
                reserved=reserved,
                peak=min(max(peak.event - events.start, 0), len(rows) - 1),
                peak_words=str(peak.place),
            ),
            path,
        )
        with numbers.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["event", "action", "bytes", "operator", "place", "reserved_bytes", *CATEGORIES])
            for number, row in enumerate(rows):
                event = stream.events[events.start + number]
                values = [row.get(name, 0) for name in CATEGORIES]
                writer.writerow(
                    [number, event.action, event.bytes, event.operator, event.place, reserved[number], *values]
                )
    except OSError as error:
        raise CaseError(f"cannot write {error.filename}: {error.strerror}") from error
