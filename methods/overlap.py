"""Losses that reach beyond their module (BackLink, MLAAN's windows), each forward run once.

A chain is cut into pieces: a module is one piece or, with a link, two. A piece runs once, from a detached input of its
own, and its graph is kept until no later loss reaches it. The gradient of a loss at a piece's output says how many
pieces it still reaches, this one included. Reaching further back means one pass through the piece for its input's
gradient alone; the gradients of the parameters come from one pass with the sum of all losses, because they are linear
in it. So a piece costs one forward, one full backward, and one input gradient for every loss that passes through it
while others stop there.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from methods.api import Link, Parts
from methods.chain import Chain
from partition import Split

if TYPE_CHECKING:
    from methods.engine import TrainingNetwork


@dataclass(frozen=True, slots=True)
class Reach:
    """Which pieces there are, and how far losses reach back."""

    pieces: tuple[tuple[range, ...], ...]
    """Units of the pieces of every module."""
    shares: tuple[tuple[tuple[float, int], ...], ...]
    """For every module, weight and reach in pieces of its own loss and, with windows, of that of its window."""
    last_reader: tuple[int, ...]
    """For every piece, the last module whose loss reaches it."""


def plan_reach(chain: Chain, split: Split, parts: Parts) -> Reach:
    """Pieces and reach of a method with a link or windows."""
    last = split.module_count - 1
    pieces = tuple(
        _cut_link(chain, units, parts) if parts.link is not None and k < last else (units,)
        for k, units in enumerate(split.modules())
    )
    shares = tuple(_shares(k, len(pieces[k]), split.module_count, parts) for k in range(split.module_count))
    readers = [0] * sum(map(len, pieces))
    end = 0
    for k, own in enumerate(pieces):
        end += len(own)
        reach = max((reach for weight, reach in shares[k] if weight), default=0)
        readers[end - reach : end] = [k] * reach
    return Reach(pieces, shares, tuple(readers))


def _shares(k: int, piece_count: int, module_count: int, parts: Parts) -> tuple[tuple[float, int], ...]:
    if parts.cascade is None:
        return ((1.0, piece_count + (1 if k > 0 else 0)),)
    if module_count == 1:  # the only window is the network
        return ((1.0, 1), (0.0, 1))
    cascade, last = parts.cascade, k == module_count - 1
    whole = k >= cascade.modules - 1 or last
    alone = (cascade.weights[0] if whole or cascade.alone else 0.0, 1)
    window = (cascade.weights[1] if whole else 0.0, min(cascade.modules, k + 1))
    return (alone, window)


def _cut_link(chain: Chain, units: range, parts: Parts) -> tuple[range, ...]:
    """Front and link of a module: the link is the fewest last units that hold the layers asked for."""
    if parts.link is None:
        return (units,)
    cut = len(units) - count_link_units(chain, units, parts.link)
    return (units[:cut], units[cut:]) if cut else (units,)


def count_link_units(chain: Chain, units: range, link: Link) -> int:
    """The fewest last ones of these units that hold the layers asked for, or all of them."""
    count, layers = 0, 0
    while layers < link.layers and count < len(units):
        count += 1
        layers += 1 if link.unit == "block" else _convolution_count(chain.units[units[-count]])
    return count


def _convolution_count(unit: nn.Module) -> int:
    """Convolutions of a unit's main path, those of a projection shortcut left out."""
    return sum(
        isinstance(layer, nn.Conv2d)
        for name, layer in unit.named_modules()
        if "shortcut" not in name and "downsample" not in name
    )


@dataclass(slots=True)
class Piece:
    """A run of units whose graph is kept."""

    source: Tensor | None
    """Detached input that asks for its gradient; None for the images."""
    output: Tensor
    parameters: Sequence[nn.Parameter]
    """What is trained by gradients at the output: of the units, and of context networks before them."""
    extra: Tensor | None = None
    """Sum of the extra losses of its units."""
    extra_reach: int | None = None
    """How many pieces they reach, this one included; None where there are none."""
    arriving: dict[int, Tensor] = field(default_factory=dict)
    """New gradients at the output by their reach."""
    total: Tensor | None = None
    """Sum of all gradients at the output that have been passed on already."""

    def receive(self, reach: int, gradient: Tensor) -> None:
        """A loss reaches `reach` pieces from this one on, with this gradient at its output."""
        self.arriving[reach] = self.arriving[reach] + gradient if reach in self.arriving else gradient


def pass_back(
    pieces: list[Piece], done_count: int, announce: Callable[[], AbstractContextManager[object]] = nullcontext
) -> None:
    """Send gradients that arrived back through the pieces, latest first; finish and drop the first `done_count`.

    Args:
        pieces: those alive, in the order they ran; gradients of parameters are added to their `.grad`.
        done_count: how many of them no later loss reaches.
        announce: called before every piece, and before pieces are dropped.
    """
    for place in range(len(pieces) - 1, -1, -1):
        before = pieces[place - 1] if place else None
        with announce():
            _pass_through(pieces[place], before, done=place < done_count)
    with announce():
        del pieces[:done_count]


def _pass_through(piece: Piece, before: Piece | None, *, done: bool) -> None:
    arriving, piece.arriving = piece.arriving, {}
    for reach, gradient in arriving.items():
        if reach > 1 and before is not None and piece.source is not None:
            outputs, gradients = _roots(piece, gradient, extra=reach == piece.extra_reach)
            all_passes = piece.total is None and len(arriving) == 1 and piece.extra_reach in (None, reach)
            if done and all_passes:
                # All there is passes on: one pass gives both the parameters' gradients and the input's.
                torch.autograd.backward(outputs, gradients, inputs=[*piece.parameters, piece.source])
                if piece.source.grad is not None:
                    before.receive(reach - 1, piece.source.grad)
                return
            (passed,) = torch.autograd.grad(outputs, piece.source, gradients, retain_graph=True)
            before.receive(reach - 1, passed)
        piece.total = gradient if piece.total is None else piece.total + gradient
    if done and piece.total is not None and piece.parameters:
        outputs, gradients = _roots(piece, piece.total, extra=True)
        torch.autograd.backward(outputs, gradients, inputs=list(piece.parameters))


def _roots(piece: Piece, gradient: Tensor, *, extra: bool) -> tuple[list[Tensor], list[Tensor]]:
    """What a pass begins with: the piece's output and, where asked for, its extra losses."""
    if piece.extra is None or not extra:
        return [piece.output], [gradient]
    return [piece.output, piece.extra], [gradient, torch.ones_like(piece.extra)]


def train_overlapping(network: "TrainingNetwork", images: Tensor, labels: Tensor) -> list[Tensor]:
    """One step in which losses reach into modules before; every forward runs once.

    Returns:
        Weighted loss of every module that has one, first to last.
    """
    plan = _reach_of(network)
    features, contexts = images, {0: images}
    losses: list[Tensor] = []
    alive: list[Piece] = []
    ends = 0
    for k, pieces in enumerate(plan.pieces):
        terms: list[Tensor] = []
        own_reach = plan.shares[k][0][1]
        for place, units in enumerate(pieces):
            source = None if units.start == 0 else features.detach().requires_grad_()
            features = images if source is None else source
            trained = network.members(units)
            if k > 0 and place == 0 and network.junctions:
                features = network.add_context(k, features, images, contexts)
                trained.append(network.junctions[k - 1])
            features, extra = network.run_units(k, units, features, labels)
            parameters = [p for member in trained for p in member.parameters()]
            extra_reach = None if extra is None else own_reach - (len(pieces) - 1 - place)
            scaled = None if extra is None else network.scale_loss(extra)
            alive.append(Piece(source, features, parameters, scaled, extra_reach))
            terms += [] if extra is None else [extra.detach()]
        terms += _send_losses(network, k, alive[-1], images, labels)
        losses += [reduce(add, terms)] if terms else []
        ends += len(pieces)
        done_count = sum(reader <= k for reader in plan.last_reader[ends - len(alive) : ends])
        pass_back(alive, done_count, partial(network.observe, "backward", k, None))
    return losses


def _send_losses(network: "TrainingNetwork", k: int, piece: Piece, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Run the losses of module k on its output; their gradients arrive at its last piece. Returns their values."""
    own, *window = _reach_of(network).shares[k]
    # Both losses of the last module are its head's, so it runs once.
    terms = [(False, [own, *window])] if k == network.split.module_count - 1 else [(False, [own]), (True, window)]
    losses: list[Tensor] = []
    for is_window, shares in terms:
        weight = sum(share for share, _ in shares)
        if not weight:
            continue
        leaf = piece.output.detach().requires_grad_()
        loss = network.loss(k, leaf, images, labels, window=is_window)
        loss = loss if weight == 1 else weight * loss
        with network.observe("backward", k, None):
            network.scale_loss(loss).backward()
        losses.append(loss.detach())
        del loss
        if leaf.grad is not None:
            for share, reach in shares:
                piece.receive(reach, leaf.grad if share == weight else leaf.grad * (share / weight))
    return losses


def _reach_of(network: "TrainingNetwork") -> Reach:
    if network.reach is None:
        raise TypeError("the losses of this network do not reach beyond their modules")
    return network.reach


def train_windows_again(network: "TrainingNetwork", images: Tensor, labels: Tensor) -> list[Tensor]:
    """One step with windows as MLAAN's released code runs them: every window from its detached input on, anew.

    Returns:
        Weighted loss of every module that has one, first to last.
    """
    modules = list(network.split.modules())
    plan = _reach_of(network)
    longest = max(length for _, (_, length) in plan.shares)
    inputs = [images]
    """Detached inputs of the modules, as many as a window has, the latest last."""
    losses: list[Tensor] = []
    for k, units in enumerate(modules):
        (own, _), (window, length) = plan.shares[k]
        features, extra = network.run_units(k, units, inputs[-1], labels)
        terms = [own * network.loss(k, features, images, labels)] if own else []
        terms += [] if extra is None else [extra]
        features = features.detach()
        if window:
            output = inputs[-length]
            for earlier in modules[k - length + 1 : k + 1]:
                output, _ = network.run_units(k, earlier, output, labels, "window")
            terms.append(window * network.loss(k, output, images, labels, window=True))
            del output
        if terms:
            loss = reduce(add, terms)
            with network.observe("backward", k, None):
                network.scale_loss(loss).backward()
            losses.append(loss.detach())
            del loss
        del terms, extra
        inputs.append(features)
        del inputs[:-longest]
    return losses
