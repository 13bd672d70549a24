"""The arithmetic that a method's definition asks of a training step, added up without running a backward.

Every layer costs its forward, as much again for the gradient of its weight where that is trained, and as much again for
the gradient of its input where anything before it is trained by the same loss. The definition says which units a loss
trains; a unit that several losses train needs one gradient of its weights, because gradients add up, and one gradient
of its input for every loss that goes further back than others.

Sees: convolutions, linear layers and the matrix products of the contrastive loss; a multiply-add counts two.
Does not see: what `bench.probes.flops` does not see either, attention, and matrix products of other losses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from methods.engine import TrainingNetwork
from methods.heads import EMBEDDING_SIZE
from partition.runs import find_runs


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution or linear layer that ran."""

    flops: int
    """Of its forward."""
    trained: bool
    """Whether its weight is."""
    feeds_back: bool
    """Whether its input needs a gradient."""


@dataclass(frozen=True, slots=True)
class Work:
    """Layers that ran, and what may be asked of them in FLOPs."""

    layers: tuple[Layer, ...]
    recomputed: int = 0
    """Forward of the layers in checkpointed segments, for every pass that goes through them."""

    @property
    def forward(self) -> int:
        """One forward, as much as a gradient of the input of every layer."""
        return sum(layer.flops for layer in self.layers)

    @property
    def weights(self) -> int:
        """The gradients of trained weights."""
        return sum(layer.flops for layer in self.layers if layer.trained)

    @property
    def inputs(self) -> int:
        """The gradients of inputs that need one."""
        return sum(layer.flops for layer in self.layers if layer.feeds_back)

    @property
    def step(self) -> int:
        """A forward and a backward."""
        return self.forward + self.weights + self.inputs


def required_flops(network: TrainingNetwork, images: Tensor, labels: Tensor) -> int:
    """FLOPs of one training step by the method's definition.

    Args:
        network: in training mode; on the meta device it needs no data. Its running statistics move.
        images: one batch, (batch, 3, height, width).
        labels: of the images.
    """
    if network.parts.cascade is not None and network.parts.cascade.repeat:
        return _repeated_windows(network, images, labels)
    total = 0
    pieces = network.reach.pieces if network.reach else tuple((units,) for units in network.split.modules())
    features, contexts = images, {0: images}
    for k, own in enumerate(pieces):
        for place, units in enumerate(own):
            features = features.detach()
            context = Work(())
            if k and place == 0:
                features, context = _record(network.add_context, k, features, images, contexts)
            features, work = _run_units(network, units, features)
            total += context.step + _train(work, *_losses_of(network, k, place))
        total += sum(_loss(network, k, features, images, labels, window=window) for window in (False, True))
    return total


def _train(work: Work, loss_count: int, passing: int) -> int:
    """Cost of units that `loss_count` losses train, `passing` of which go on into what is before them."""
    if passing == loss_count == 1:
        return work.forward + work.weights + work.forward + work.recomputed
    if not loss_count:
        return work.forward
    return work.step + passing * work.forward + (passing + 1) * work.recomputed


def _losses_of(network: TrainingNetwork, k: int, place: int) -> tuple[int, int]:
    """How many losses train a piece of module k (front and link where there are two), and how many pass through it."""
    parts, last = network.parts, network.split.module_count - 1
    if parts.link is not None and network.reach is not None:
        is_link = place == len(network.reach.pieces[k]) - 1 and k < last
        whole = len(network.reach.pieces[k]) == 1
        # The module's own loss goes on from its link into its front, and from its front into the link before.
        own_passes = (is_link and not whole) or k > 0
        return (2 if is_link else 1), (1 if own_passes else 0)
    if parts.cascade is None or last == 0:
        return 1, 0
    length = parts.cascade.modules
    ends = [end for end in range(k, min(k + length, last + 1)) if end >= length - 1 or end == last]
    windows = [(max(end - length + 1, 0), end) for end in ends]
    alone = parts.cascade.weights[0] > 0 and (parts.cascade.alone or k >= length - 1 or k == last)
    return len(windows) + alone, sum(start < k for start, _ in windows)


def _loss(network: TrainingNetwork, k: int, features: Tensor, images: Tensor, labels: Tensor, *, window: bool) -> int:
    """Cost of the networks that give the output of module k its own loss, or that of the window ending in it."""
    if k == network.split.module_count - 1:
        return 0 if window else _record(network.chain.head, features)[1].step
    networks = network.windows if window else network.auxiliaries
    if str(k) not in networks:
        return 0
    _, work = _record(networks[str(k)], features, images, labels)
    return work.step + _contrast_flops(networks[str(k)], len(images))


def _contrast_flops(auxiliary: nn.Module, batch_size: int) -> int:
    """All pairs of embeddings, forward, and backward to both factors of the product."""
    losses = sum(getattr(member, "contrast", False) for member in auxiliary.modules())
    return losses * 3 * 2 * batch_size**2 * EMBEDDING_SIZE


def _repeated_windows(network: TrainingNetwork, images: Tensor, labels: Tensor) -> int:
    """Every window runs anew from its detached input, besides the modules alone."""
    cascade, modules = network.parts.cascade, list(network.split.modules())
    last, total, inputs = len(modules) - 1, 0, [images]
    length = cascade.modules if cascade else 1
    for k, units in enumerate(modules):
        source = inputs[-1].detach()
        features, work = _run_units(network, units, source)
        whole = k >= length - 1 or k == last
        if cascade and cascade.weights[0] and (cascade.alone or whole):
            total += _train(work, 1, 0) + _loss(network, k, features, images, labels, window=False)
        else:
            total += work.forward
        if last and whole:
            first = max(k - length + 1, 0)
            again = range(modules[first].start, units.stop)
            output, work = _run_units(network, again, inputs[first].detach())
            loss = _record(network.chain.head, output)[1].step if k == last else 0
            total += _train(work, 1, 0) + loss + _loss(network, k, output, images, labels, window=True)
        inputs.append(features)
    return total


def _run_units(network: TrainingNetwork, units: range, features: Tensor) -> tuple[Tensor, Work]:
    """What consecutive units give, and the layers that ran in them."""
    layers, recomputed = [], 0
    for run in find_runs(network.parts.segments, units):
        features, work = _record(_run, network, run.units, features)
        layers += work.layers
        recomputed += 0 if run.kept else work.forward
    return features, Work(tuple(layers), recomputed)


def _run(network: TrainingNetwork, units: Sequence[int], features: Tensor) -> Tensor:
    for unit in units:
        features = network.chain.units[unit](features)
    return features


def _record(forward: Callable[..., Tensor], *arguments: object) -> tuple[Tensor, Work]:
    """What a forward gives, and the layers that ran in it."""
    layers: list[Layer] = []
    with torch.enable_grad(), _watch(layers):
        result = forward(*arguments)
    return result, Work(tuple(layers))


@contextmanager
def _watch(layers: list[Layer]) -> Iterator[None]:
    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            flops = 2 * output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            flops = 2 * output.numel() * layer.in_features
        else:
            return
        layers.append(Layer(flops, layer.weight.requires_grad, inputs[0].requires_grad))

    handle = register_module_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
