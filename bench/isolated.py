"""What runs in an isolated process: receives its task, keeps its limits, tells where it is, and leaves the result.

Messages are short, so that nobody waits for half of one; the result goes into a file that the caller has open.
"""

import faulthandler
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from results.record import Status

Report = Callable[[str], None]
"""Called by the function with what it does next; the last report is the phase of an outcome that is not ok."""

BEAT_SECONDS = 2.0
"""Between heartbeats. Each takes Python's lock for some microseconds, once in hundreds of steps."""
_MOST_CHARACTERS = 4000
"""Of a message; an error may quote a whole graph."""
_OUT_OF_MEMORY = ("OutOfMemoryError", "AcceleratorOutOfMemoryError")
_OUT_OF_MEMORY_SIGNS = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "bad alloc",
    "status_alloc_failed",
    "allocation_failed",
)
_NO_ENGINE = "unable to find an engine"
"""Said where every plan of cuDNN failed: for want of memory, at which torch goes on to the next plan, or otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an isolated process is asked to do."""

    function: str
    arguments: tuple[object, ...]
    plugin_files: tuple[Path, ...]
    memory_limit: int | None
    life_seconds: float
    """After which the kernel ends the process, whatever holds it up."""
    grace: float
    """Seconds to go on without a caller."""
    beat_seconds: float


def serve_at(descriptor: int) -> None:
    """Entry of a new interpreter; `descriptor` is its end of the connection."""
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - what it starts must not keep the caller waiting for the end
    serve(Connection(descriptor))


def serve(connection: Connection) -> None:
    """Receive a task, do it, answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the caller's to handle
    if os.getsid(0) != os.getpid():
        os.setsid()
    try:
        result, words, *held = _receive_descriptors(connection)
        task: Task = connection.recv()
    except (EOFError, OSError):  # nobody wants anything any more
        return
    # A child forked here is no holder of locks and has nothing to say, however long it lives.
    os.register_at_fork(after_in_child=lambda: _close_all(connection.fileno(), *held))
    os.dup2(words, 1)
    os.dup2(words, 2)
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2)
    signal.setitimer(signal.ITIMER_REAL, task.life_seconds)
    _choose_as_victim()
    if task.memory_limit is not None:
        limit_memory(task.memory_limit)
    say = _Speaker(connection)
    threading.Thread(target=_die_with_caller, args=(connection, task.grace), daemon=True).start()
    threading.Thread(target=_beat, args=(say, task.beat_seconds), daemon=True).start()
    say(_answer(task, lambda phase: say({"phase": shorten(phase)}), result))


def _receive_descriptors(connection: Connection) -> list[int]:
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        count, descriptors, _, _ = socket.recv_fds(channel, 1, 64)
    if not count:
        raise EOFError
    return descriptors


def _close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


class _Speaker:
    """Sends messages from any thread; without a caller, into nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def __call__(self, message: dict[str, Any]) -> None:
        with self._turn, suppress(OSError):
            self._connection.send(message)


def _answer(task: Task, report: Report, result: int) -> dict[str, Any]:
    """Call the function; the last message says how that ended."""
    try:
        if task.plugin_files:
            from methods.registry import add_plugin  # noqa: PLC0415 - not every function needs methods

            for file in task.plugin_files:
                add_plugin(file)
        module, _, name = task.function.partition(":")
        value = getattr(importlib.import_module(module), name)(*task.arguments, report)
        lift_memory_limit()
        with open(result, "wb", closefd=False) as file:
            pickle.dump(value, file)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome
        lift_memory_limit()
        return {"status": status_of(error), "message": describe(error)}
    return {"status": "ok"}


def _beat(say: _Speaker, seconds: float) -> None:
    while True:
        time.sleep(seconds)
        say({})


def _die_with_caller(connection: Connection, grace: float) -> None:
    """The caller sends no more: reading ends when it is gone. What was started here goes as well."""
    with suppress(EOFError, OSError):
        connection.recv()
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)


def _choose_as_victim() -> None:
    """Where memory runs out, the kernel is to kill this process and not the one that keeps the results."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_memory(growth: int) -> None:
    """Let this process grow by so many bytes; beyond, allocations fail."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + growth, hard))


def lift_memory_limit() -> None:
    """Give back what was limited, for the result to be written."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def status_of(error: BaseException) -> Status:
    """The status of a case that ended with this error."""
    return "out_of_memory" if is_out_of_memory(error) else "failed"


def describe(error: BaseException) -> str:
    """An error in words that any file may keep."""
    return shorten(f"{type(error).__name__}: {_text_of(error)}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error whose text is an error
        return "no text"


def shorten(text: str) -> str:
    """Text as UTF-8 can keep it and a terminal can show it, and no longer than a message may be."""
    shown = "".join(map(_show, text[: _MOST_CHARACTERS + 1]))
    return shown if len(text) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]} ... ({len(text)} characters)"


def _show(character: str) -> str:
    """A character, or the escape that stands for one that would steer a terminal or that no file can keep."""
    return character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = _text_of(error).lower()
    return any(sign in text for sign in _OUT_OF_MEMORY_SIGNS) or (_NO_ENGINE in text and _was_refused())


def _was_refused() -> bool:
    """Whether the CUDA allocator of this process could not serve a request."""
    torch = sys.modules.get("torch")
    return bool(torch and torch.cuda.is_initialized() and torch.cuda.memory_stats()["num_ooms"])
