"""What a training step costs, piece by piece: the integers from which the memory of any split follows.

A stretch of a step is known by two numbers, net bytes and highest prefix. Two stretches one after the other are again
one, (d1, p1)(d2, p2) = (d1 + d2, max(p1, d1 + p2)); that is associative, so that a step may be put together from
stretches that were traced once. A unit's stretches depend on its neighbours only through two places: where it stands
towards the beginning and towards the end of its module (`Place`). Everything here is as long as the chain, not as the
number of its splits.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from partition.overlap import Overlap, Pass
from partition.runs import Segments

Stretch = tuple[int, int]
"""(net bytes, highest prefix): what a stretch of a step does to memory; the empty prefix counts, as 0."""

NOTHING: Stretch = (0, 0)


def join(stretches: Iterable[Stretch]) -> Stretch:
    """One stretch from several, one after the other."""
    delta = peak = 0
    for net, highest in stretches:
        peak = max(peak, delta + highest)
        delta += net
    return delta, peak


class Place(IntEnum):
    """Where a unit stands towards one side of its module."""

    INSIDE = 0
    SEGMENT = 1
    """Next to a checkpointed segment or, at its beginning, first of a link."""
    MODULE = 2
    """Next to the boundary of the module."""
    FINAL = 3
    """First of the last module, whose input no later context keeps."""
    KEPT = 4
    """Next to a run whose activations are kept between checkpointed segments."""


Sides = tuple[Place, Place]
"""Places of a unit towards the beginning and the end."""


Sources = tuple[int, ...]
"""Shapes, as numbers, of the module inputs that context reads, latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """A unit of the chain."""

    forward: Mapping[Sides, Stretch]
    backward: Mapping[Sides, Stretch]
    recompute: Mapping[Sides, Stretch] = field(default_factory=dict)
    """Its forward again, during the backward of a checkpointed segment."""
    resume: Mapping[Sides, Stretch] = field(default_factory=dict)
    """The beginning of a segment's backward in its last unit, before the segment is recomputed."""
    passes: Mapping[Pass, Mapping[Sides, Stretch]] = field(default_factory=dict)
    """Where losses reach beyond their module: its backwards by what they are for, in place of `backward`."""
    gradient_bytes: int = 0
    """Gradients of its parameters."""
    update_bytes: int = 0
    """What the optimizer takes for its parameters while it runs."""
    extra_loss: bool = False
    """The network has a loss of its own behind it, which is added to that of its module."""
    flops: int = 0
    """Floating-point operations of its forward."""
    parameter_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """What a method adds to a module: its auxiliary networks, the classifier head, or the context before it."""

    forward: Stretch = NOTHING
    backward: Stretch = NOTHING
    closing: Stretch = NOTHING
    """What follows the backward of its module."""
    passes: Mapping[Pass, Stretch] = field(default_factory=dict)
    """Of context where losses reach beyond their module: its backwards, in place of `backward`."""
    persistent_bytes: int = 0
    """Held all through the step: parameters, buffers, optimizer state."""
    gradient_bytes: int = 0
    update_bytes: int = 0
    kept_bytes: int = 0
    """Held besides gradients until the optimizer has run: the module's loss."""
    flops: int = 0
    """Floating-point operations of its forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostProfile:
    """What every unit, auxiliary network and context network of a chain costs under one method."""

    base_bytes: int
    """Held all through the step, however the chain is cut: the backbone's parameters, buffers, state; the batch."""
    units: tuple[UnitCost, ...]
    head: NetworkCost
    """Head and loss of the last module; its persistent bytes are part of the base, its operations of the backbone."""
    whole: NetworkCost | None = None
    """Head and loss where the network is one module, if that is another."""
    adding: Stretch = NOTHING
    """Adding a module's loss and those behind its units, between the forward and the backward of its end network."""
    auxiliaries: tuple[tuple[NetworkCost, ...], ...] = ()
    """[kind][unit]: auxiliary networks of a module that ends with this unit; no kind: one module only."""
    kinds: tuple[int, int, int] = (0, 0, 0)
    """Kind of auxiliary networks of the first local module, of those between, and of the last with more than one."""
    contexts: Mapping[tuple[int, Sources], NetworkCost] = field(default_factory=dict)
    """(unit, sources): context before a module that begins with this unit; empty: none."""
    final_contexts: Mapping[tuple[int, Sources], NetworkCost] = field(default_factory=dict)
    """The same before the last module."""
    shapes: tuple[int, ...] = ()
    """Shape of the input of every unit, as a number; what sources of context are told apart by."""
    context_depth: int = 0
    """How many module inputs, latest first, are sources of context and kept for it."""
    segments: Segments | Literal["balanced"] | None = None
    """Checkpointed segments: how many in every module, or which of the chain; None: all activations are kept."""
    kept: tuple[UnitCost, ...] = ()
    """Costs of the units in runs that are kept between checkpointed segments; empty: there are no such runs."""
    backbone_flops: int = 0
    """Floating-point operations of the backbone's forward."""
    overlap: Overlap | None = None
    """How far losses reach beyond their module; None: not at all."""
    windows: tuple[tuple[NetworkCost, ...], ...] = ()
    """[kind][unit]: auxiliary networks of a window of modules that ends with this unit."""
    output_bytes: tuple[int, ...] = ()
    """With overlap: bytes of the output of every unit, and of a gradient at it."""
    between: Mapping[tuple[Hashable, int], Stretch] = field(default_factory=dict)
    """With overlap: what is added and let go before, between and behind the passes through a piece, by kind of scope
    and number, in tensors of the size of the piece's output."""
    dropped: Mapping[Hashable, tuple[int, ...]] = field(default_factory=dict)
    """With overlap: by kind of a module's step, how many tensors are let go at its end at every boundary of the pieces
    that are done, first to last, and last the bytes of scalars."""
    update_per_module: bool = False
    """Whether each module is updated right after its backward, and its gradients dropped."""

    @property
    def final(self) -> Place:
        """Place of the first unit of the last module."""
        return Place.FINAL if self.context_depth else Place.MODULE

    def kind(self, module: int, module_count: int) -> int:
        """Kind of auxiliary networks of local module `module` = 0 .. K-2."""
        if module == 0:
            return self.kinds[0]
        return self.kinds[2 if module == module_count - 2 else 1]
