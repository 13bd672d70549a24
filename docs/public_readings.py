"""Events that real GPUs' allocators had, as others published them, beside the simulator's.

`results/reference/public/README.md` says where they are from. What libraries borrow within an operator is left out on
both sides: it depends on the version of cuDNN.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torchvision.models import resnet50

from bench.simulator import simulate_step
from bench.simulator.allocator import SMALL_BYTES, round_size
from bench.simulator.model import read_model
from docs.tables import write_table

FOLDER = Path(__file__).parents[1] / "results" / "reference" / "public"
MIB = 2**20
Recorded = list[tuple[int, str]]
"""Bytes of a block, negative where it is given back, and where that happened."""


def resnet50_trained() -> tuple[Any, ...]:
    """A batch from the host in every step; gradients are set to zero and kept."""
    network = resnet50()
    optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9, foreach=False)
    device = next(network.parameters()).device
    images = labels = outputs = loss = None

    def step() -> None:
        nonlocal images, labels, outputs, loss
        images, labels = torch.empty(32, 3, 224, 224, device=device), torch.empty(32, dtype=torch.long, device=device)
        outputs = network(images)
        loss = functional.cross_entropy(outputs, labels)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()

    return step, network, optimizer


def resnet50_on_soft_labels() -> tuple[Any, ...]:
    """The same batch in every step; gradients are given back at its end."""
    network = resnet50()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images, labels = torch.empty(32, 3, 224, 224), torch.empty(32, 1000)
    outputs = None

    def step() -> None:
        nonlocal outputs
        outputs = network(images)
        functional.cross_entropy(outputs, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, network, optimizer, images, labels


def without_library(events: Recorded, calls: str) -> Recorded:
    """Leave out what is given back where it was taken, right behind or within a call of the library.

    Args:
        events: as recorded.
        calls: what `where` says of such a call.
    """
    dropped: set[int] = set()
    for index, (size, where) in enumerate(events):
        if size < 0 and calls in where:
            taken = range(index - 1, -1, -1)
            dropped |= {index, next(i for i in taken if events[i][0] == -size and i not in dropped)}
    return [event for index, event in enumerate(events) if index not in dropped]


def without_uncategorised_pairs(events: Recorded) -> Recorded:
    """Leave out what no category is known of and what is given back at once, with nothing in between."""
    kept: Recorded = []
    for event in events:
        if kept and event[1] == kept[-1][1] == "uncategorised" and event[0] == -kept[-1][0] < 0:
            kept.pop()
        else:
            kept.append(event)
    return kept


def as_torch_does_today(events: Recorded) -> Recorded:
    """Leave out what torch 1.9 took for sums of gradients and of counters, which are made in place today.

    A sum (`aten::add`) is followed by the end of what it replaces: the counter of batches of a batch normalisation,
    or both gradients, in one of which today's sum is made.
    """
    kept: Recorded = []
    replaced = 0
    for size, where in events:
        if where == "aten::add":
            replaced = size
        elif replaced and size == -replaced:
            replaced = 0
        else:
            kept.append((size, where))
    return kept


@dataclass(frozen=True, slots=True)
class Reading:
    """One published recording, and the step that it is of."""

    file: str
    build: Callable[[], tuple[Any, ...]]
    profile: str
    """Device profile: the device, or one of its day where it is not told; without workspaces any gives the same."""
    clean: Callable[[Recorded], Recorded]
    """Leaves out what libraries borrow, and what torch does otherwise since."""


READINGS = (
    Reading(
        "resnet50_V100.json", resnet50_trained, "V100",
        lambda events: as_torch_does_today(without_library(events, "cudnn_convolution")),
    ),
    Reading("resnet50_soft_labels.json", resnet50_on_soft_labels, "A100", without_uncategorised_pairs),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and its simulation, both without what libraries borrow."""

    told: dict[str, Any]
    """What the file says of the recording."""
    recorded: list[int]
    """Bytes of blocks, negative where they are given back."""
    requested: list[int]
    """Simulated bytes asked for, likewise."""
    blocks: list[int]
    """Simulated bytes of blocks, likewise."""

    @property
    def differing(self) -> list[int]:
        """Indices of events that are not the same: one of other bytes, or a birth instead of a death."""
        pairs = zip(self.recorded, self.requested, strict=False)
        same = [is_served_by(asked, block) for block, asked in pairs]
        longer = range(len(same), max(len(self.recorded), len(self.requested)))
        return [index for index, equal in enumerate(same) if not equal] + [*longer]

    @property
    def equal_blocks(self) -> int:
        """Events at which the device's block has the very size of the simulated one."""
        return sum(mine == theirs for mine, theirs in zip(self.blocks, self.recorded, strict=False))


def is_served_by(requested: int, block: int) -> bool:
    """Whether a block of this size can be what the allocator hands out for a request.

    Blocks are multiples of 512 bytes; in the pool of large ones, what would remain stays with the block if it is 1 MiB
    or less. How much that is depends on all that happened before.
    """
    least = round_size(abs(requested))
    most = least + (MIB if least > SMALL_BYTES else 0)
    return (requested > 0) == (block > 0) and least <= abs(block) <= most


def highest_rise(sizes: list[int]) -> int:
    """Most bytes above those at the step's start."""
    return max(accumulate(sizes))


def read_events(file: str) -> tuple[dict[str, Any], Recorded]:
    """What a file says of its recording, and the recording."""
    told = json.loads((FOLDER / file).read_text())
    return told, [(size, told["where"][where]) for size, where in told.pop("events")]


@cache
def compare(reading: Reading) -> Pair:
    """Simulate the step of a recording."""
    told, events = read_events(reading.file)
    simulation = simulate_step(reading.build, read_model(reading.profile))
    stream, sizes = simulation.stream, simulation.ledger.blocks
    signed = [
        (event.bytes, sizes[event.storage]) if event.action == "alloc" else (-event.bytes, -sizes[event.storage])
        for event in (stream.events[index] for index in stream.step_events(-1))
        if stream.categories.get(event.storage) != "workspace"
    ]
    return Pair(
        told=told,
        recorded=[size for size, _ in reading.clean(events)],
        requested=[requested for requested, _ in signed],
        blocks=[block for _, block in signed],
    )


def streams() -> str:
    """The recordings beside their simulations."""
    rows = []
    for reading in READINGS:
        pair = compare(reading)
        told, events = read_events(reading.file)
        rise, simulated = highest_rise(pair.recorded), highest_rise(pair.blocks)
        rows.append(
            [
                f"`{reading.file}`",
                told["device"],
                told["torch"],
                str(len(events)),
                str(len(pair.recorded)),
                f"{len(pair.recorded) - len(pair.differing)} of {len(pair.requested)}",
                str(pair.equal_blocks),
                f"{rise / MIB:.2f}",
                f"{simulated / MIB:.2f}",
                f"{simulated / rise - 1:+.2%}",
            ]
        )
    return write_table(
        ["recording", "device", "torch", "events", "without libraries", "as simulated", "of the same block",
         "rise MiB", "simulated", "difference"],
        rows,
    )  # fmt: skip
