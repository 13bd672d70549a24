"""How most cases train: a network, inputs, a loss, an optimizer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Build = Callable[[], tuple[Any, ...]]
Loss = Callable[[Any], Tensor]
MOMENTUM = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def classify(outputs: Tensor) -> Tensor:
    """Cross-entropy of logits (batch, classes, ...) against class 0."""
    labels = torch.zeros(outputs.shape[0], *outputs.shape[2:], dtype=torch.long, device=outputs.device)
    return functional.cross_entropy(outputs, labels)


def images(batch: int, size: int, channels: int = 3) -> Callable[[], tuple[Tensor]]:
    """A batch of square images."""
    return lambda: (torch.empty(batch, channels, size, size),)


def tokens(batch: int, length: int) -> Callable[[], tuple[Tensor]]:
    """A batch of token sequences."""
    return lambda: (torch.zeros(batch, length, dtype=torch.long),)


def train(
    network: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...]],
    loss: Loss = classify,
    *,
    optimizer: Callable[..., torch.optim.Optimizer] = MOMENTUM,
    autocast: torch.dtype | None = None,
    scale: bool = False,
    channels_last: bool = False,
    accumulate: int = 1,
    clip: Callable[..., Any] | None = None,
    keep_gradients: bool = False,
) -> Build:
    """A step that trains a network.

    Args:
        network: makes it.
        inputs: makes what it is called with.
        loss: of what it returns.
        optimizer: makes one of the parameters.
        autocast: type to compute in; None for no autocast.
        scale: whether the loss is scaled, as float16 needs it.
        channels_last: memory format of network and first input.
        accumulate: backwards per step.
        clip: what is done with the parameters before the optimizer's step.
        keep_gradients: whether gradients are zeroed instead of dropped.
    """

    def build() -> tuple[Any, ...]:
        model, given = network(), inputs()
        update = optimizer(model.parameters())
        device = given[0].device.type
        scaler = torch.amp.GradScaler(device, enabled=scale)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
            given = (given[0].to(memory_format=torch.channels_last), *given[1:])

        def step() -> None:
            update.zero_grad(set_to_none=not keep_gradients)
            for _ in range(accumulate):
                with torch.autocast(device, autocast, enabled=autocast is not None):
                    value = loss(model(*given))
                scaler.scale(value).backward()
                del value
            if clip is not None:
                scaler.unscale_(update)
                clip(model.parameters())
            scaler.step(update)
            scaler.update()

        return step, model, update, *given

    return build
