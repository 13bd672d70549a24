"""The devices that a machine measures on, and a lock for each: never two cases on one, not even of two runs.

A lock is a file that a process holds open; the kernel lets go of it when the last holder ends, however that ends. A
case's process holds the lock of its device beside the run that started it, so that one that outlives its run keeps the
device.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.isolate import Report, run_isolated
from results.record import Environment

Kind = Literal["cpu", "cuda"]

START_LIMIT = 120.0
"""Seconds for the questions that every run asks first; a cold disk reads torch slowly."""
LOCK_FOLDER = "PEAKBENCH_LOCK_FOLDER"
"""Variable with the folder of the locks, for containers that share a GPU; by default the one for temporary files."""
_WAIT_SECONDS = 0.2
_GATE_SECONDS = 2.0
"""Places of the same run pass the gate one after the other, which is no wait to speak of."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class DeviceError(RuntimeError):
    """A machine that cannot measure what is asked of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device; measures one case at a time."""

    kind: Kind
    place: str
    """`cpu`, or `cuda:1` as torch numbers the GPUs that the run sees."""
    key: str
    """What tells it from every other device of the machine; names its lock."""
    variables: dict[str, str | None] | None = field(default=None, hash=False)
    """Environment of an interpreter that sees this device alone; None where any process does."""
    environment: Environment
    """Of readings on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a run needs to know before its first case."""

    simulated: Environment
    """Of simulated readings."""
    devices: tuple[Device, ...]
    """Those that measure side by side, all of one kind and model."""
    left_out: tuple[str, ...] = ()
    """Why others do not, a sentence each."""


def look_at_machine(kind: Literal["auto", "cpu", "cuda"]) -> Machine:
    """Find the devices of a kind; `auto` takes GPUs where there are any.

    Raises:
        DeviceError: torch does not start, or there is no such device.
    """
    simulated = ask("bench.worker:environment", None)
    gpus: list[dict[str, str]] = [] if kind == "cpu" else ask("bench.devices:list_gpus")
    if kind == "cuda" and not gpus:
        raise DeviceError("this machine has no usable GPU (--device cuda): leave --device out, or use --device cpu")
    if not gpus:
        cpu = Device(kind="cpu", place="cpu", key="cpu", environment=ask("bench.worker:environment", "cpu"))
        return Machine(simulated=simulated, devices=(cpu,))
    alike = [number for number, gpu in enumerate(gpus) if gpu["name"] == gpus[0]["name"]]
    left_out = tuple(
        f"cuda:{number} is another model than cuda:0 ({gpu['name']}, {gpus[0]['name']}) and is left out: choose GPUs "
        f"with {_VISIBLE}"
        for number, gpu in enumerate(gpus)
        if number not in alike
    )
    with ThreadPoolExecutor() as pool:
        devices = tuple(pool.map(lambda number: _open_gpu(number, gpus[number]["key"]), alike))
    return Machine(simulated=simulated, devices=devices, left_out=left_out)


def note_command(machine: Machine, command: str) -> Machine:
    """The machine with the command line of the run in the environments of its rows."""
    devices = (replace(device, environment=replace(device.environment, command=command)) for device in machine.devices)
    return replace(machine, simulated=replace(machine.simulated, command=command), devices=tuple(devices))


def ask(question: str, *arguments: object, variables: dict[str, str | None] | None = None) -> Any:
    """The answer of an isolated function to a question that has to have one.

    Raises:
        DeviceError: it has none.
    """
    outcome = run_isolated(question, *arguments, time_limit=START_LIMIT, variables=variables)
    if outcome.status != "ok":
        raise DeviceError(f"torch does not start: {outcome.message} (phase: {outcome.phase})")
    return outcome.result


def _open_gpu(number: int, key: str) -> Device:
    variables = see_alone(number, os.environ.get(_VISIBLE))
    environment = ask("bench.worker:environment", "cuda", variables=variables)
    return Device(kind="cuda", place=f"cuda:{number}", key=key, variables=variables, environment=environment)


def see_alone(number: int, visible: str | None) -> dict[str, str | None]:
    """Variables with which a process sees one GPU.

    Args:
        number: of the GPU among those that this process sees.
        visible: CUDA_VISIBLE_DEVICES here; its words may be numbers, or names of GPUs or of their parts (MIG).
    """
    words = [word.strip() for word in (visible or "").split(",") if word.strip()]
    return {_VISIBLE: words[number] if number < len(words) else str(number)}


def list_gpus(report: Report) -> list[dict[str, str]]:
    """Name and key of every usable GPU, as torch numbers them; runs isolated."""
    import torch  # noqa: PLC0415 - only there

    report("look for a GPU")
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    names = [str(gpu.uuid) for gpu in found]
    return [
        # A part of a GPU (MIG) may be told by the name of the whole; the two are then told apart by their numbers.
        {"name": gpu.name, "key": name if names.count(name) == 1 else f"{name}-{number}"}
        for number, (gpu, name) in enumerate(zip(found, names, strict=True))
    ]


@contextmanager
def hold(
    key: str, *, shared: bool = False, wanted: Callable[[], bool], tell: Callable[[str], object]
) -> Iterator[int | None]:
    """Hold the lock of a device.

    Args:
        key: of the device.
        shared: beside others that share it, but beside nobody who does not.
        wanted: asked while another holds it; False ends the wait.
        tell: called once, with who is waited for, where that is somebody else's doing.

    Yields:
        The descriptor of the lock, or None where it is not wanted any more.

    Raises:
        DeviceError: the folder of the locks cannot be used.
    """
    descriptor = _open_lock(key)
    try:
        # Who waits keeps the gate, so that who holds the device cannot take it again at once.
        gate = _open_lock(f"{key}-gate")

        def explain() -> None:
            tell(f"waiting for {_name(key)}: {_read_holder(descriptor)} is measuring on it")

        try:
            mine = _wait_for(gate, wanted, explain, after=_GATE_SECONDS) and _wait_for(
                descriptor, wanted, explain, shared=shared
            )
        finally:
            os.close(gate)
        alone = mine and not shared
        if alone:
            _sign(descriptor, f"pid {os.getpid()}")
        try:
            yield descriptor if mine else None
        finally:
            if alone:  # who shares it next does not sign
                _sign(descriptor, "")
    finally:
        os.close(descriptor)


def _wait_for(
    descriptor: int,
    wanted: Callable[[], bool],
    explain: Callable[[], None],
    *,
    shared: bool = False,
    after: float = 0.0,
) -> bool:
    """Whether the lock was had before it was no longer wanted; a wait is explained once, after so many seconds."""
    begun, explained = time.monotonic(), False
    while not _try_lock(descriptor, shared=shared):
        if not wanted():
            return False
        if not explained and time.monotonic() - begun >= after:
            explain()
            explained = True
        time.sleep(_WAIT_SECONDS)
    return True


def _open_lock(key: str) -> int:
    folder = Path(os.environ.get(LOCK_FOLDER) or tempfile.gettempdir())
    path = folder / f"peakbench-{key}.lock"
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            # Linux refuses O_CREAT for a file of another user in a folder that everybody may write.
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
            with suppress(OSError):
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users measure on this device too
            return descriptor
    except OSError as error:
        raise DeviceError(
            f"cannot open the lock {path}: {error.strerror}; name another folder in {LOCK_FOLDER}"
        ) from error


def _try_lock(descriptor: int, *, shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, holder: str) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)


def _read_holder(descriptor: int) -> str:
    text = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
    return f"another run ({text})" if text else "another run"


def _name(key: str) -> str:
    return "the CPU" if key == "cpu" else f"GPU {key}"
