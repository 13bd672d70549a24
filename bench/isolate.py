"""Runs a function in a process of its own, limited in time, memory and silence; whatever happens is an outcome.

Forked processes come from a server that has imported torch and done nothing else: fresh (no CUDA context, no thread)
within milliseconds. A new interpreter takes seconds to import torch; it is for what the environment must say before
that, such as the allocator's settings and the GPU to be seen. `bench/isolated.py` is the other side.

The caller sleeps until the process says something, ends, or is late.
"""

import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any, Protocol

from bench.isolated import BEAT_SECONDS, Report, Task, describe, is_out_of_memory, serve, shorten
from methods.plugins import added_files
from results.record import Status

__all__ = ["SILENCE_LIMIT", "Outcome", "Report", "Stop", "is_out_of_memory", "run_isolated"]

SILENCE_LIMIT = 60.0
"""Seconds without a heartbeat after which a process counts as hung; a library may hold Python's lock for a while."""
_EXIT_SECONDS = 5.0
"""For a process to leave after its answer: a CUDA context is torn down, temporary files go."""
_TELL_SECONDS = 0.2
"""For a process to write down where it is."""
_MOST_BYTES = 2**16
"""Read of what a process wrote."""
_INNERMOST = re.compile(r'Current thread .*\(most recent call first\):\n  File "(.+)", line (\d+) in (.+)')
_PRELOADED = ["bench.worker", "bench.workloads.resnet_cifar", "torch._dynamo", "results.store"]
"""What every case imports; torch imports its compiler with the first optimizer."""
_BEGIN = "import sys; from bench.isolated import serve_at; serve_at(int(sys.argv[1]))"
_STARTING = threading.Lock()


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


class Stop:
    """Something to set once, for which calls in any number of threads wait beside their processes."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0)

    def set(self) -> None:
        """Have every call that has this stop killed, now and later."""
        os.eventfd_write(self._descriptor, 1)

    def is_set(self) -> bool:
        """Whether it was."""
        return bool(wait([self._descriptor], timeout=0))

    def fileno(self) -> int:
        """What `select` waits for."""
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


def run_isolated(
    function: str,
    *arguments: object,
    time_limit: float,
    silence_limit: float = SILENCE_LIMIT,
    memory_limit: int | None = None,
    variables: Mapping[str, str | None] | None = None,
    held: Sequence[int] = (),
    grace: float = 0.0,
    stop: Stop | None = None,
) -> Outcome:
    """Call `function(*arguments, report)` in a fresh process and wait for it.

    Args:
        function: `module:name`, imported there and not here; its result can be pickled.
        arguments: can be pickled.
        time_limit: seconds after which the process and its children are killed.
        silence_limit: seconds without a heartbeat, counted from the first report on, after which they are killed: the
            process is stopped, or hangs where Python cannot run.
        memory_limit: bytes by which the process may grow before allocations fail there, instead of having the kernel
            kill a process. Not for CUDA, which reserves address space far beyond.
        variables: environment of a new interpreter, beside what is set here (None: not set there); where this argument
            is None itself, the process is forked from the server.
        held: file descriptors that stay open there as long as the process lives, such as those of locks.
        grace: seconds for which the process goes on when this one has died; 0: it ends at once.
        stop: when set, the process is killed.
    """
    start = time.monotonic()
    task = Task(
        function=function,
        arguments=arguments,
        plugin_files=added_files(),
        memory_limit=memory_limit,
        # Nobody may be there any more to end it in time.
        life_seconds=time_limit + grace + 2 * _EXIT_SECONDS,
        grace=grace,
        beat_seconds=min(BEAT_SECONDS, silence_limit / 4),
    )
    with ExitStack() as opened:
        try:
            result, words = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            ours, theirs = map(opened.enter_context, multiprocessing.Pipe())
            process = _fork(theirs) if variables is None else _Interpreter(theirs, variables, words)
            theirs.close()
        except (OSError, EOFError) as error:
            message = f"no process could be started: {error}"
            return Outcome(status="failed", phase="start", message=message, seconds=time.monotonic() - start)
        answer: dict[str, Any] = {}
        try:
            _hand_over(ours, task, (result.fileno(), words.fileno(), *held))
            answer = _listen(ours, process, start, time_limit, silence_limit, stop)
            if "late" in answer or "silent" in answer:
                _ask_where(process)
        finally:
            _end(process, seconds=_EXIT_SECONDS if "status" in answer else 0)
        return _conclude(answer, process, result, _read_end(words), time.monotonic() - start)


class _Process(Protocol):
    """What the two kinds of process have in common."""

    @property
    def pid(self) -> int | None: ...
    @property
    def sentinel(self) -> int: ...
    @property
    def exitcode(self) -> int | None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def kill(self) -> None: ...


class _Interpreter:
    """A new Python; the part of `multiprocessing.Process` that is needed here."""

    def __init__(self, theirs: Connection, variables: Mapping[str, str | None], words: IO[bytes]) -> None:
        wanted = {**os.environ, **_search_path(), **variables}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-c", _BEGIN, str(theirs.fileno())],
            env={name: value for name, value in wanted.items() if value is not None},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,  # an interrupt at the terminal is this process's to handle
        )
        self.pid = self._process.pid
        self.sentinel = _watch(self.pid)

    @property
    def exitcode(self) -> int | None:
        return self._process.returncode

    def join(self, timeout: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            if self.sentinel >= 0:
                os.close(self.sentinel)
                self.sentinel = -1

    def kill(self) -> None:
        self._process.kill()


def _watch(pid: int) -> int:
    """A descriptor that tells of a process's end; -1 on a kernel without (before 5.3), where its connection does."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _fork(theirs: Connection) -> _Process:
    with _STARTING, _environment(_search_path()):
        forkserver.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()
    process = multiprocessing.get_context("forkserver").Process(target=serve, args=(theirs,), daemon=False)
    process.start()
    return process


def _hand_over(ours: Connection, task: Task, descriptors: Sequence[int]) -> None:
    """Send the task with open files; a process that is dead already is found out by listening."""
    with suppress(OSError), socket.socket(fileno=os.dup(ours.fileno())) as channel:
        socket.send_fds(channel, [len(descriptors).to_bytes()], list(descriptors))
        ours.send(task)


def _listen(
    connection: Connection,
    process: _Process,
    start: float,
    time_limit: float,
    silence_limit: float,
    stop: Stop | None,
) -> dict[str, Any]:
    """Messages of the process, merged, until its last one, its death, its lateness or silence, or `stop`."""
    answer: dict[str, Any] = {}
    heard, deadline = time.monotonic(), start + time_limit
    watched = [connection, *(each for each in (process.sentinel, stop.fileno() if stop else -1) if each >= 0)]
    while "status" not in answer:
        limit = min(deadline, heard + silence_limit) if "phase" in answer else deadline
        ready = wait(watched, timeout=max(0.0, limit - time.monotonic()))
        if connection in ready or connection.poll():  # what it said before it died or was late counts
            try:
                answer |= connection.recv()
            except (EOFError, OSError):
                break
            heard = time.monotonic()
        elif not ready:
            return answer | ({"late": time_limit} if limit == deadline else {"silent": silence_limit})
        else:  # dead, or to be stopped
            break
    return answer


def _end(process: _Process, *, seconds: float) -> None:
    """Let a process leave within so many seconds; then kill it, and in any case what it started and left behind."""
    process.join(seconds)
    if process.pid is not None:
        with suppress(ProcessLookupError):  # nobody is left, or it leads no group yet
            os.killpg(process.pid, signal.SIGKILL)
    if process.exitcode is None:
        process.kill()
    process.join()


def _conclude(answer: dict[str, Any], process: _Process, result: IO[bytes], words: str, seconds: float) -> Outcome:
    """The outcome of a process that has ended."""
    phase, place = answer.get("phase"), _find_place(words)
    match answer:
        case {"status": "ok"}:
            try:
                result.seek(0)
                return Outcome(status="ok", result=pickle.load(result), seconds=seconds)  # noqa: S301 - of our own process
            except Exception as error:  # noqa: BLE001 - whatever unpickling runs into
                status, message = "failed", f"the result cannot be read back: {describe(error)}"
        case {"status": status, "message": message}:
            pass
        case {"late": limit}:
            status, message = "timeout", f"stopped after the time limit of {limit:g} s{place}"
        case {"silent": limit}:
            status, message = "failed", f"hung: no sign of life for {limit:g} s{place}"
        case _:
            status, message = "failed", f"{_describe_exit(process.exitcode)}{place}{_quote(words)}"
    return Outcome(status=status, phase=phase, message=message, seconds=seconds)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (the kernel does that when memory runs out)" if -code == signal.SIGKILL else ""
        return f"the process was killed by {name}{hint}"
    return f"the process ended with exit code {code} and no result"


def _ask_where(process: _Process) -> None:
    """Have a process that runs late write down what it is doing; one that is stopped cannot."""
    if process.pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(_TELL_SECONDS)


def _read_end(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _MOST_BYTES))
    return words.read().decode(errors="replace")


def _find_place(words: str) -> str:
    """Where Python was, from a traceback of `faulthandler`; empty where there is none."""
    found = _INNERMOST.search(words)
    if found is None:
        return ""
    file, line, function = found.groups()
    return f", in {function} ({'/'.join(Path(file).parts[-2:])}, line {line})"


def _quote(words: str) -> str:
    """The last that a process wrote before it died, in a line."""
    lines = [line.strip() for line in words.partition("Fatal Python error")[0].splitlines() if line.strip()]
    return f": {shorten(' '.join(lines[-2:]))[:300]}" if lines else ""


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Have this process's environment changed for a moment."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _search_path() -> dict[str, str]:
    """Variables with which Python finds these packages, and nothing of the working directory."""
    here, given = str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": here + os.pathsep + given if given else here}
