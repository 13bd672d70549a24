"""Runs a function in a process of its own, with a time limit and a memory limit; whatever happens there is an outcome.

Processes are forked from a server that has imported torch and done nothing else, so that each starts fresh (no CUDA
context, no thread) within milliseconds.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from methods.plugins import added_files
from methods.registry import add_plugin
from results.record import Status

Report = Callable[[str], None]
"""Called by the function with what it does next; the last report is the phase of an outcome that is not ok."""

_PRELOADED = ["bench.worker", "bench.workloads.resnet_cifar", "torch._dynamo"]
"""What every case imports; torch imports its compiler with the first optimizer."""
_STARTING = threading.Lock()
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an isolated call."""

    status: Status
    result: Any = None
    phase: str | None = None
    """What was under way when it ended, where it did not end well."""
    message: str | None = None
    seconds: float
    """From the start of the process to its end."""


def run_isolated(
    function: str,
    *arguments: object,
    time_limit: float,
    limit_memory: bool = False,
    stop: threading.Event | None = None,
) -> Outcome:
    """Call `function(*arguments, report)` in a fresh process and wait for it.

    Args:
        function: `module:name`, imported there and not here; its result can be pickled.
        arguments: can be pickled.
        time_limit: seconds after which the process and its children are killed.
        limit_memory: let allocations fail once the memory that is free now is used up, instead of having the kernel
            kill a process. Not for CUDA, which reserves address space far beyond.
        stop: when set, the process is killed.
    """
    context = multiprocessing.get_context("forkserver")
    start = time.monotonic()
    with _STARTING, _importable():
        forkserver.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()
    ours, theirs = context.Pipe()
    budget = psutil.virtual_memory().available if limit_memory else None
    process = context.Process(target=_serve, args=(theirs, function, arguments, budget, added_files()), daemon=False)
    process.start()
    theirs.close()
    try:
        answer = _listen(ours, start + time_limit, stop or threading.Event())
    finally:
        _end(process)
        ours.close()
    seconds = time.monotonic() - start
    phase = answer.pop("phase", None)
    if "status" in answer:
        return Outcome(seconds=seconds, phase=None if answer["status"] == "ok" else phase, **answer)
    if answer.get("timed_out"):
        message = f"stopped after the time limit of {time_limit:g} s"
        return Outcome(status="timeout", phase=phase, message=message, seconds=seconds)
    return Outcome(status="failed", phase=phase, message=_describe_exit(process.exitcode), seconds=seconds)


def _listen(connection: Connection, deadline: float, stop: threading.Event) -> dict[str, Any]:
    """Messages of the process, merged, until its last one, its death, the deadline, or `stop`."""
    answer: dict[str, Any] = {}
    while "status" not in answer and not stop.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            return answer | {"timed_out": True}
        if not connection.poll(min(left, _POLL_SECONDS)):
            continue
        try:
            answer |= connection.recv()
        except (EOFError, OSError):
            break
    return answer


def _end(process: BaseProcess) -> None:
    """Let a process that has answered exit; kill it and its children otherwise."""
    process.join(0.2)
    if process.is_alive() and process.pid is not None:
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        process.kill()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
    process.join()


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (the kernel does that when memory runs out)" if -code == signal.SIGKILL else ""
        return f"the process was killed by {name}{hint}"
    return f"the process ended with exit code {code} and no result"


@contextmanager
def _importable() -> Iterator[None]:
    """Environment in which the fork server finds these packages, and nothing of the working directory."""
    changes = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    before = {name: os.environ.get(name) for name in changes}
    if before["PYTHONPATH"]:
        changes["PYTHONPATH"] += os.pathsep + before["PYTHONPATH"]
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- in the process ---------------------------------------------------------------------------------------------------


def _serve(
    connection: Connection,
    function: str,
    arguments: tuple[object, ...],
    budget: int | None,
    plugin_files: tuple[Path, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()
    if budget is not None:
        _limit_memory(budget)
    phase = "import"

    def report(now: str) -> None:
        nonlocal phase
        phase = now
        connection.send({"phase": now})

    try:
        for file in plugin_files:
            add_plugin(file)
        module, _, name = function.partition(":")
        call = getattr(importlib.import_module(module), name)
        answer = {"status": "ok", "result": call(*arguments, report)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome
        answer = {"status": "out_of_memory" if is_out_of_memory(error) else "failed", "phase": phase}
        text = f"{type(error).__name__}: {error}"
        answer["message"] = text.encode(errors="backslashreplace").decode()  # Parquet keeps UTF-8 alone
    connection.send(answer)


def _die_with_parent(connection: Connection) -> None:
    """The parent never sends: reading ends when it is gone, and nobody waits for a result any more."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _limit_memory(budget: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limit = used + budget
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorOutOfMemoryError"):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text
        for sign in ("not enough memory", "can't allocate memory", "out of memory", "bad_alloc", "bad alloc")
    )
