"""Compares the simulator with the CUDA device at hand, event by event, in the third step of every case in `cases.py`.

    tests/oracle/hollow/run.sh DIR tests/oracle/compare.py [words of case names ...]

Where they differ it prints the first such event from both sides - operator, module, autograd node - and exits with 1.
Nothing recorded earlier is used: this is how a torch the project has not seen is tried.
"""

import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

# Names of exported functions are enough to say where an event comes from, and are found at once.
os.environ.setdefault("TORCH_SYMBOLIZE_MODE", "dladdr")

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from bench.simulator import simulate_step
from bench.simulator.model import Model, read_model
from bench.simulator.simulate import STEPS, Simulation
from tests.oracle.cases import CASES, Build

Result = TypeVar("Result")
SIGNS = {"alloc": 1, "free_requested": -1}
KINDS = ("requested", "allocated", "reserved")
LIBRARY_CALL = re.compile(r"at::_ops::(\w+)::|at::(?:native|cuda)::(\w+)\(|autograd::(?:generated::)?(\w+)::apply")


@dataclass(frozen=True, slots=True)
class Recording:
    """What CUDA's allocator did in the last of three steps."""

    events: list[int]
    """Bytes, negative where they are given back."""
    peaks: dict[str, int]
    origins: list[str]
    """Where each event came from, in words; empty unless asked for."""


def record(build: Build, *, origins: bool = False) -> Recording:
    """Run a case on the CUDA device.

    Args:
        build: the case.
        origins: whether to say where events come from, which takes seconds more.
    """
    with torch.device("cuda"):
        step, *used = build()
    for _ in range(STEPS - 1):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    stacks: dict[str, Any] = {"context": "all", "stacks": "all"} if origins else {"context": None, "stacks": "python"}
    torch.cuda.memory._record_memory_history(max_entries=10**6, **stacks)
    with _name_modules([item for item in used if isinstance(item, nn.Module)] if origins else []):
        step()
    torch.cuda.synchronize()
    snapshot: Any = torch.cuda.memory._snapshot()
    torch.cuda.memory._record_memory_history(enabled=None)
    stats = torch.cuda.memory_stats()
    events = [event for event in snapshot["device_traces"][0] if event["action"] in SIGNS]
    return Recording(
        events=[SIGNS[event["action"]] * event["size"] for event in events],
        peaks={kind: stats[f"{kind}_bytes.all.peak"] for kind in KINDS},
        origins=[_describe(event) for event in events] if origins else [],
    )


@contextmanager
def _name_modules(roots: list[nn.Module]) -> Iterator[None]:
    names = {id(module): name or type(module).__name__ for root in roots for name, module in root.named_modules()}
    under_way: list[str] = []

    def say(name: str) -> None:
        torch._C._cuda_setMemoryMetadata(name)

    def enter(module: nn.Module, _: Any) -> None:
        under_way.append(names.get(id(module), type(module).__name__))
        say(under_way[-1])

    def leave(*_: Any) -> None:
        under_way.pop()
        say(under_way[-1] if under_way else "")

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _describe(event: dict[str, Any]) -> str:
    """Calls an event came through, outermost first, such as `AddmmBackward0 > mm > clone`, and its module."""
    calls: list[str] = []
    for frame in reversed(event.get("frames", [])):
        match = LIBRARY_CALL.search(frame["name"])
        name = next(filter(None, match.groups())) if match else ""
        if name and name not in calls:
            calls.append(name)
    module = event.get("user_metadata")
    return " > ".join(calls) + (f" in unit {module}" if module else "")


def device_model() -> Model:
    """The simulator's model of the device at hand."""
    properties = torch.cuda.get_device_properties()
    model = read_model("H200")
    device = replace(
        model.device,
        capability=(properties.major, properties.minor),
        multiprocessors=properties.multi_processor_count,
        threads_per_multiprocessor=properties.max_threads_per_multi_processor,
    )
    return replace(model, name=properties.name, device=device)


def simulated_events(simulation: Simulation) -> tuple[list[int], list[str]]:
    """Signed bytes of the last step, and where each event came from."""
    stream = simulation.stream
    events = [stream.events[index] for index in stream.step_events(STEPS - 1)]
    sizes = [event.bytes if event.action == "alloc" else -event.bytes for event in events]
    return sizes, [f"{event.operator or 'between operators'} in {event.place}" for event in events]


def first_difference(ours: list[int], theirs: list[int]) -> int | None:
    """Number of the first event that differs; None where the streams are equal."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return number
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


def settled(events: list[int], *, in_order: bool) -> list[int]:
    """Events as they are compared: deaths with no birth between them are sorted unless their order is known."""
    if in_order:
        return events
    runs = groupby(events, key=lambda size: size > 0)
    return [size for born, run in runs for size in (run if born else sorted(run))]


AROUND = 3
"""Events shown before and after the first that differs."""


def compare(name: str, around: int = AROUND) -> str | None:
    """None where simulator and device agree on a case; else what differs first, in words."""
    try:
        recording = record(CASES[name])
    except RuntimeError as error:
        return f"not run on the device: {error}"
    try:
        simulation = simulate_step(CASES[name], device_model())
    except (RuntimeError, SystemError) as error:
        return f"not simulated: {error}"
    ours, our_origins = simulated_events(simulation)
    # The cache of autocast is a table by address, and emptied in the order of addresses.
    in_order = "autocast" not in name
    number = first_difference(settled(ours, in_order=in_order), settled(recording.events, in_order=in_order))
    if number is None:
        simulated = {kind: getattr(simulation.steady, f"{kind}_bytes") for kind in KINDS}
        return None if simulated == recording.peaks else f"peaks: {simulated}, on the device {recording.peaks}"
    try:
        named = record(CASES[name], origins=True)
    except SystemError:  # torch 2.11 cannot end a recomputation early while stacks are recorded
        named = replace(recording, origins=["?"] * len(recording.events))
    lines = [f"event {number} of {len(ours)} simulated and {len(recording.events)} on the device"]
    for side, sizes, origins in (("simulated", ours, our_origins), ("device", named.events, named.origins)):
        for index in range(max(number - around, 0), min(number + around + 1, len(sizes))):
            mark = ">" if index == number else " "
            lines.append(f"  {mark} {side:9} {index:6} {sizes[index]:+15,} {origins[index]}")
    return "\n".join(lines)


def in_processes(function: Callable[[str], Result], names: list[str]) -> Iterator[tuple[str, Result]]:
    """Call a function with each name, in a process of its own.

    What earlier cases left with the driver and with cuBLAS would decide the peaks of later ones.
    """
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        yield from zip(names, pool.imap(function, names, chunksize=1), strict=True)


def main(words: list[str]) -> int:
    """Compare the cases whose names have any of these words, or all cases; returns the exit code."""
    names = [name for name in CASES if not words or any(word in name for word in words)]
    failed = 0
    for name, difference in in_processes(compare, names):
        failed += difference is not None
        print(f"{name}: " + ("equal" if difference is None else f"DIFFERENT\n{difference}"), flush=True)
    print(f"torch {torch.__version__}: {len(names) - failed} of {len(names)} cases are equal")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
