"""Counts floating-point operations by what the training step is doing.

Sees: convolutions, matrix products and attention, forward and backward, by torch's own formulas (but for gradients of
weights of grouped convolutions, where torch forgets the groups); a multiply-add counts two.
Does not see: batch norms, activations, pooling, interpolation, losses, optimizer arithmetic.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from bench.simulator.torch_private import EagerDispatchMode, packet_of


def _convolution_backward(gradient: Any, features: Any, weight: Any, *options: Any, **_: Any) -> int:
    """Gradients of features and of weights cost what the forward does, each."""
    transposed, output_mask = options[4], options[7]
    places = (features if transposed else gradient).shape
    forward = 2 * places[0] * prod(places[2:]) * weight.numel()
    return forward * (output_mask[0] + output_mask[1])


_OWN_FORMULAS: dict[Any, Callable[..., int]] = {torch.ops.aten.convolution_backward: _convolution_backward}


class FlopCounter(EagerDispatchMode):
    """Dispatch mode; pass its `observe` to a training network to have FLOPs sorted by phase."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        """FLOPs by innermost phase; everything inside a recomputation counts as `recompute`."""
        self._phases: list[str] = []

    @property
    def total(self) -> int:
        """FLOPs of all phases."""
        return self.flops.total()

    @contextmanager
    def observe(self, phase: str, module: int, unit: int | None = None) -> Iterator[None]:  # noqa: ARG002
        """Observer of `methods.engine`."""
        self._phases.append("recompute" if "recompute" in self._phases else phase)
        try:
            yield
        finally:
            self._phases.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = packet_of(func)
        formula = _OWN_FORMULAS.get(packet) or flop_registry.get(packet)
        if formula is not None:
            phase = self._phases[-1] if self._phases else "other"
            self.flops[phase] += formula(*args, **(kwargs or {}), out_val=result)
        return result
