"""`peakbench run`: a suite, simulated and measured, into a folder of Parquet files."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from bench.cases import CaseError
from bench.commands.options import PluginFiles
from bench.commands.progress import show_progress, summarise
from bench.suites import load_suite
from methods.datasets import get_dataset
from results.record import Status


class Device(StrEnum):
    """Where steps are measured."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Retry(StrEnum):
    """Rows to make again."""

    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    ALL = "all"


class What(StrEnum):
    """What is measured."""

    STEP = "step"
    LEAST_MEMORY = "least-memory"


_RETRIED: dict[Retry, tuple[Status, ...]] = {
    Retry.FAILED: ("failed",),
    Retry.TIMEOUT: ("timeout",),
    Retry.OUT_OF_MEMORY: ("out_of_memory",),
    Retry.ALL: get_args(Status),
}


def run(
    suite: Annotated[str, typer.Argument(help="Suite by name (see `peakbench suites`) or a .toml file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/SUITE.", show_default=False)
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where steps are measured; auto takes a GPU where there is one.")
    ] = Device.AUTO,
    time_limit: Annotated[
        float,
        typer.Option(
            min=1, max=1e8, metavar="SECONDS", help="After which a case is stopped; compiled ones have 900 more."
        ),
    ] = 300.0,
    cpu_batch: Annotated[
        int | None, typer.Option(help="Images per step where a CPU is timed; the suite's by default.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="synthetic, or cifar10|svhn|stl10 to time steps with their loader.")
    ] = "synthetic",
    data_root: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    measure: Annotated[
        What,
        typer.Option(
            metavar="WHAT",
            help="step: memory, time and inference; least-memory: the least that still trains, on a GPU.",
        ),
    ] = What.STEP,
    precision: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 or float16 by autocast; of all cases.", show_default=False)
    ] = None,
    tf32: Annotated[
        bool | None, typer.Option(help="Whether float32 may run as TF32; of all cases.", show_default=False)
    ] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous or channels_last; of all cases.", show_default=False)
    ] = None,
    cudnn_benchmark: Annotated[
        bool | None, typer.Option(help="Whether cuDNN tries its algorithms; of all cases.", show_default=False)
    ] = None,
    compile_mode: Annotated[
        str | None,
        typer.Option(
            "--compile",
            help="none, default, reduce-overhead or max-autotune, of torch.compile; of all cases.",
            show_default=False,
        ),
    ] = None,
    allocator: Annotated[
        str | None,
        typer.Option(help="Settings as in PYTORCH_ALLOC_CONF; of all cases.", show_default=False),
    ] = None,
    _resume: Annotated[
        bool, typer.Option("--resume", help="Finish what has no row in the folder. Every run does that.")
    ] = False,
    retry: Annotated[
        list[Retry] | None,
        typer.Option(
            metavar="OUTCOME",
            help="Make these rows again: failed, timeout, out_of_memory or all; may be given again.",
            show_default=False,
        ),
    ] = None,
    _plugin: PluginFiles = None,
) -> None:
    """Simulate and measure every case of a suite; run it again to resume.

    Memory is simulated at the suite's batch size. Steps and inference are measured, alternating with end-to-end
    backprop: on a GPU at the same batch size, on a CPU at a smaller one, or not at all where the suite says so.

    Each case has a process of its own, and whatever becomes of it is a row: ok, out of memory, timeout, or failed with
    phase and message. A case that has a row is done; --retry makes it again, and its old row stays until then.

    --measure least-memory asks for the least memory with which each case still trains (what InfoPro's tables call
    memory cost): on a GPU by one process per limit, in rows of their own; without one the simulated rows answer.

    On several GPUs one case runs on each, the longest first; CUDA_VISIBLE_DEVICES chooses them.

    Exit code 1 where a case failed or timed out; finished cases are never lost.

    Example:  peakbench run cifar --out runs/cifar

    Example, what an interrupt left:  peakbench run cifar --out runs/cifar --resume

    Example, what went wrong:  peakbench run cifar --out runs/cifar --retry failed --retry timeout

    Example, two of four GPUs:  CUDA_VISIBLE_DEVICES=0,2 peakbench run cifar

    Example, in bfloat16 with another allocator:  peakbench run cifar --precision bfloat16 --allocator
    max_split_size_mb:64 --out runs/cifar-bfloat16

    Example, the least memory:  peakbench run cifar --measure least-memory

    Example, steps with their loader:  peakbench run smoke --data cifar10 --data-root ~/data
    """
    from bench.devices import look_at_machine, note_command  # noqa: PLC0415 - as the next two
    from bench.jobs import Job, Settings  # noqa: PLC0415
    from bench.run import run_jobs  # noqa: PLC0415 - pyarrow only when rows are stored

    grid = load_suite(suite).with_options(
        precision=precision,
        tf32=tf32,
        memory_format=memory_format,
        cudnn_benchmark=cudnn_benchmark,
        compile=compile_mode,
        allocator=allocator,
    )
    if cpu_batch is not None:
        grid = replace(grid, grids=tuple(replace(part, cpu_batch_size=cpu_batch) for part in grid.grids))
    least = measure is What.LEAST_MEMORY
    if data != "synthetic":
        _check_dataset(data, {case.dataset for case in grid.simulated_cases()})
        grid = replace(grid, grids=tuple(replace(part, data="loader") for part in grid.grids))
    simulated = grid.simulated_cases()
    # Refuses what cannot be, before anything.
    wanted = [*grid.measured_cases("cpu"), *(grid.measured_cases("cuda") if device is not Device.CPU else ())]
    _check_data({case.dataset for case in wanted if case.data == "loader"}, data_root, least=least)
    folder = out or Path("runs") / grid.name
    console = Console(stderr=True)
    with _ending_in_order(console, folder):
        with console.status("looking at this machine"):
            machine = note_command(look_at_machine(device.value), shlex.join(["peakbench", *sys.argv[1:]]))
        where = machine.devices[0].kind
        for words in machine.left_out:
            console.print(words, markup=False, highlight=False)
        if len(machine.devices) > 1:
            console.print(f"{len(machine.devices)} GPUs measure side by side, one case on each", highlight=False)
        measured = grid.measured_cases(where)
        if least and where == "cpu":
            measured = []
            console.print(
                "there is no GPU here to find the least memory on: the simulated rows have it", highlight=False
            )
        elif (untimed := len(simulated) - len(measured)) > 0:
            words = f"{untimed} cases of this suite are too slow for a CPU: simulated, not timed"
            console.print(words, highlight=False)
        if any(case.compile != "none" for case in measured):
            words = "the first step of a case compiles: minutes on a CPU, unless inductor has its units in its cache"
            console.print(words, highlight=False)
        jobs = [Job(case=case, provenance="simulated", device="cuda") for case in simulated]
        what = "least_memory" if least else "step"
        jobs += [Job(case=case, provenance="measured", device=where, measure=what) for case in measured]
        settings = Settings(
            limits=grid.limits,
            time_limit=time_limit,
            data_root=str(data_root) if data_root else None,
            retry=frozenset(status for word in retry or () for status in _RETRIED[word]),
        )
        with show_progress(console) as observe:
            rows = run_jobs(jobs, folder, grid.name, settings, machine, observe)
    sys.exit(summarise(rows, folder, console))


def _check_dataset(name: str, used: set[str]) -> None:
    """Refuse a dataset that is not that of the suite."""
    get_dataset(name)  # whether there is one of that name
    if used != {name}:
        raise CaseError(f"--data {name} does not fit the suite, whose cases use {', '.join(sorted(used))}")


def _check_data(names: set[str], root: Path | None, *, least: bool) -> None:
    """Refuse cases with a loader whose files are missing, before any case starts."""
    if names and least:
        raise CaseError("the least memory is found with synthetic data: leave out --data, or data of the suite's grids")
    for name in sorted(names):
        from bench.workloads.data import DataRootError, training_loader  # noqa: PLC0415 - torch only for real data

        if root is None:
            raise CaseError(f"steps with the loader of {name} need --data-root, the folder with the dataset's files")
        try:
            training_loader(get_dataset(name), root, batch_size=2)
        except DataRootError as error:
            raise CaseError(str(error)) from error


class _EndedBySignal(KeyboardInterrupt):
    """Asked to end by other means than the keyboard."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _ending_in_order(console: Console, folder: Path) -> Iterator[None]:
    """Leave what is finished and say how to go on, whoever ends the run: user, session, container or batch system."""

    def end(number: int, _frame: object) -> None:
        raise _EndedBySignal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one
            signal.signal(number, end)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        number = interrupt.number if isinstance(interrupt, _EndedBySignal) else signal.SIGINT
        words = f"interrupted; what is finished is in {folder}: run the same command to resume"
        console.print(words, markup=False, highlight=False, soft_wrap=True)
        sys.exit(128 + number)
