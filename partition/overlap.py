"""The order of a training step in which losses reach beyond their module (BackLink, MLAAN's windows).

A chain is cut into pieces: a module is one piece or, with a link, two. The graph of a piece is kept until no later loss
reaches it. The step of a module runs its pieces forward and its losses; then gradients pass back through every piece
alive, latest first, and pieces that are done are dropped. Which passes there are follows from the lengths alone; this
is `methods/overlap.py` with gradients replaced by how far they still have to go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from partition.split import Split


class Pass(StrEnum):
    """What a backward through a piece is for."""

    INPUT = "input"
    """The gradient of its input; the graph is kept."""
    PARAMETERS = "parameters"
    """The gradients of its parameters; the graph is freed."""
    BOTH = "both"
    """Both at once."""


class Loss(StrEnum):
    """A loss at the end of a module."""

    OWN = "own"
    WINDOW = "window"
    HEAD = "head"
    """Of the network, behind the last module."""
    WHOLE = "whole"
    """The same where a network with windows is one module: both losses of the module are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far losses reach."""

    window: int = 2
    """Modules that a loss can reach, its own included; with links, into the link of the one before."""
    links: tuple[int, ...] = ()
    """Units of the link of a module that ends with each unit, were the module as long as the chain; empty: no links."""
    own: bool = True
    """With windows: every module has a loss of its own, from the first or from the first whole window on."""
    alone: bool = True
    """With windows: modules before the first whole window have a loss of their own."""

    @property
    def kept(self) -> int:
        """Most pieces that are kept for the next module."""
        return self.window - 1


@dataclass(frozen=True, slots=True)
class Alive:
    """A piece whose graph is kept."""

    units: range
    link: bool
    """It is the link of a longer module."""
    summed: bool
    """Gradients at its output have been summed for its parameters already."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one module's step does to one piece alive."""

    units: range
    link: bool
    """It is the link of a longer module."""
    summed: bool
    """Before it, gradients at its output had been summed."""
    arriving: int
    """Gradients that arrive at its output."""
    held: bool
    """What arrives is held by the piece behind until that is dropped."""
    passes: tuple[Pass, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """What decides about tensors between its passes."""
        return self.passes, self.summed, self.arriving, self.held


@dataclass(frozen=True, slots=True)
class ModuleStep:
    """What happens in the step of one module after its forward's context."""

    pieces: tuple[range, ...]
    """Units of its own pieces."""
    losses: tuple[Loss, ...]
    scopes: tuple[Scope, ...]
    """Pieces through which gradients pass, latest first."""
    dropped: tuple[range, ...]
    """Pieces that are done, first to last."""
    kept: tuple[Alive, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """What decides about tensors that are let go at its end."""
        first = bool(self.dropped) and self.dropped[0].start == 0
        return self.losses, tuple(scope.kind for scope in self.scopes), len(self.dropped), first, bool(self.kept)


def plan_modules(overlap: Overlap, split: Split) -> Iterator[ModuleStep]:
    """The steps of all modules of a split, first to last."""
    alive: Sequence[Alive] = ()
    for k, units in enumerate(split.modules()):
        step = plan_module(overlap, alive, units, k, last=k == split.module_count - 1)
        alive = step.kept
        yield step


def plan_module(overlap: Overlap, alive: Sequence[Alive], units: range, k: int, *, last: bool) -> ModuleStep:
    """The step of module k.

    Args:
        overlap: how far losses reach.
        alive: pieces that earlier modules kept.
        units: of the module.
        k: number of modules before it; beyond `overlap.window` all are alike.
        last: it ends the chain.
    """
    pieces = cut_link(overlap, units, last=last)
    losses, reaches = _losses(overlap, k, len(pieces), last=last)
    everything = [*alive, *(Alive(piece, link=place > 0, summed=False) for place, piece in enumerate(pieces))]
    done = len(everything) if last else len(everything) - min(overlap.kept, len(everything))
    arriving: list[int] = reaches
    scopes, summed, held = [], [], False
    for place in range(len(everything) - 1, -1, -1):
        piece = everything[place]
        passes, passed, total = _pass_through(piece, arriving, place > 0, done=place < done)
        scope = Scope(piece.units, piece.link, piece.summed, len(arriving), held, passes)
        arriving, held = passed, Pass.BOTH in passes
        summed.append(total)
        if scope.passes:
            scopes.append(scope)
    kept = [replace(one, summed=total) for one, total in zip(everything, reversed(summed), strict=True)][done:]
    return ModuleStep(pieces, losses, tuple(scopes), tuple(one.units for one in everything[:done]), tuple(kept))


def cut_link(overlap: Overlap, units: range, *, last: bool) -> tuple[range, ...]:
    """Front and link of a module, or one piece."""
    if not overlap.links or last or overlap.links[units[-1]] >= len(units):
        return (units,)
    cut = len(units) - overlap.links[units[-1]]
    return units[:cut], units[cut:]


def _losses(overlap: Overlap, k: int, piece_count: int, *, last: bool) -> tuple[tuple[Loss, ...], list[int]]:
    """Losses of module k, and how many pieces each gradient at its output reaches."""
    if overlap.links:
        return (Loss.HEAD if last else Loss.OWN,), [piece_count + (k > 0)]
    whole = k >= overlap.window - 1
    if last:
        return (Loss.HEAD if k else Loss.WHOLE,), [1, min(overlap.window, k + 1)]
    shares = [(Loss.OWN, 1)] if overlap.own and (whole or overlap.alone) else []
    shares += [(Loss.WINDOW, overlap.window)] if whole else []
    return tuple(loss for loss, _ in shares), [reach for _, reach in shares]


def _pass_through(
    piece: Alive, arriving: list[int], has_before: bool, *, done: bool
) -> tuple[tuple[Pass, ...], list[int], bool]:
    """Backwards through a piece, the reaches that arrive at the one before it, and whether its output has a sum."""
    passes: list[Pass] = []
    passed: list[int] = []
    reaches = list(dict.fromkeys(arriving))
    total = piece.summed
    for reach in reaches:
        if reach > 1 and has_before:
            passed.append(reach - 1)
            if done and not total and len(reaches) == 1:
                return (Pass.BOTH,), passed, False
            passes.append(Pass.INPUT)
        total = True
    if done and total:
        passes.append(Pass.PARAMETERS)
    return tuple(passes), passed, total
