"""`peakbench run`: a suite, simulated and measured, into a folder of Parquet files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cases import CaseError
from bench.commands.options import PluginFiles
from bench.suites import load_suite
from methods.datasets import get_dataset
from results.record import Measurement

if TYPE_CHECKING:
    from bench.run import Observe


class Device(StrEnum):
    """Where steps are measured."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def run(
    suite: Annotated[str, typer.Argument(help="Suite by name (see `peakbench suites`) or a .toml file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/SUITE.", show_default=False)
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where steps are measured; auto takes a GPU where there is one.")
    ] = Device.AUTO,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds after which a case is stopped.")] = 300.0,
    cpu_batch: Annotated[
        int | None, typer.Option(help="Images per step where a CPU is timed; the suite's by default.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="synthetic, or cifar10|svhn|stl10 to time steps with their loader.")
    ] = "synthetic",
    data_root: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    _plugin: PluginFiles = None,
) -> None:
    """Simulate and measure every case of a suite; run it again to resume.

    Memory is simulated at the suite's batch size. Steps and inference are measured, alternating with end-to-end
    backprop: on a GPU at the same batch size, on a CPU at a smaller one, or not at all where the suite says so.

    Exit code 1 where a case failed or timed out; finished cases are never lost.

    Example:  peakbench run cifar --out runs/cifar

    Example:  peakbench run smoke --data cifar10 --data-root ~/data
    """
    from bench.run import Job, Settings, find_device, run_jobs  # noqa: PLC0415 - pyarrow only when rows are stored

    grid = load_suite(suite)
    if cpu_batch is not None:
        grid = replace(grid, grids=tuple(replace(part, cpu_batch_size=cpu_batch) for part in grid.grids))
    simulated, on_cpu = grid.simulated_cases(), grid.measured_cases("cpu")  # refuses what cannot be, before anything
    if data != "synthetic":
        _check_data(data, data_root, {case.dataset for case in simulated})
    folder = out or Path("runs") / grid.name
    console = Console(stderr=True)
    with console.status("looking at this machine"):
        where = "cpu" if device is Device.CPU else find_device()
    if device is Device.CUDA and where != "cuda":
        raise CaseError("this machine has no usable GPU (--device cuda): leave --device out, or use --device cpu")
    measured = on_cpu if where == "cpu" else grid.measured_cases(where)
    if data != "synthetic":
        measured = [replace(case, data="loader") for case in measured]
    if len(measured) < len(simulated):
        untimed = len(simulated) - len(measured)
        console.print(f"{untimed} cases of this suite are too slow for a CPU: simulated, not timed", highlight=False)
    jobs = [Job(case=case, provenance="simulated", device="cuda") for case in simulated]
    jobs += [Job(case=case, provenance="measured", device=where) for case in measured]
    settings = Settings(limits=grid.limits, time_limit=time_limit, data_root=str(data_root) if data_root else None)
    try:
        with _show_progress(console) as observe:
            rows = run_jobs(jobs, folder, grid.name, settings, observe)
    except KeyboardInterrupt:
        console.print(f"interrupted; finished cases are in {folder}: run the same command to resume", markup=False)
        sys.exit(130)
    sys.exit(_summarise(rows, folder, console))


def _check_data(name: str, root: Path | None, used: set[str]) -> None:
    """Refuse a dataset whose files are missing before any case starts."""
    from bench.workloads.data import DataRootError, training_loader  # noqa: PLC0415 - torch only where real data is asked for

    dataset = get_dataset(name)
    if used != {name}:
        raise CaseError(f"--data {name} does not fit the suite, whose cases use {', '.join(sorted(used))}")
    if root is None:
        raise CaseError(f"--data {name} needs --data-root, the folder with the dataset's files")
    try:
        training_loader(dataset, root, batch_size=2)
    except DataRootError as error:
        raise CaseError(str(error)) from error


@contextmanager
def _show_progress(console: Console) -> "Iterator[Observe]":
    """A bar with the time left on a terminal, a line per case elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("cases", total=None)

        def observe(row: Measurement | None, done: int, total: int) -> None:
            if row is None:
                if done:
                    console.print(f"{done} of {total} cases are finished already", highlight=False)
                # Cases finished earlier took no time now and must not shorten the estimate.
                progress.update(task, total=total - done)
                return
            progress.update(task, advance=1, description=row.case.label)
            if row.status != "ok" or not console.is_terminal:
                console.print(f"[{done}/{total}] {_describe(row)}", highlight=False, markup=False, soft_wrap=True)

        yield observe


def _describe(row: Measurement) -> str:
    words = f"{row.case.label} {row.provenance}: {row.status.replace('_', ' ')}"
    if row.status == "ok":
        return f"{words} ({row.wall_seconds:.1f} s)"
    return f"{words} in phase '{row.phase}': {row.message}"


def _summarise(rows: list[Measurement], folder: Path, console: Console) -> int:
    """Name what did not end well; return the exit code."""
    unfinished = [row for row in rows if row.status in ("failed", "timeout")]
    bad = [row for row in rows if row.status != "ok"]
    console.print(f"{len(rows) - len(bad)} of {len(rows)} cases ok; records in {folder}", highlight=False)
    for row in bad:
        console.print(f"  {_describe(row)}", highlight=False, markup=False, soft_wrap=True)
    if unfinished:
        console.print("run the same command to try the unfinished cases again", highlight=False)
    return 1 if unfinished else 0
