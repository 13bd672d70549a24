"""Operators on every element for themselves that still need memory: dropout, rolls, activations with a buffer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, copy_if, dense_bytes

aten = torch.ops.aten


def _dropout(draft: Draft, *_: Any) -> None:
    """Dropout.cu: a mask of one byte per element, then the output."""
    draft.output(1)
    draft.output(0)


def _log_sigmoid(draft: Draft, *_: Any) -> None:
    """ActivationLogSigmoidKernel.cu: there is no buffer on CUDA."""
    draft.output(0)


def _roll(draft: Draft, source: Tensor, _shifts: Sequence[int], dims: Sequence[int] = ()) -> None:
    """TensorTransformations.cu: one dimension after the other; a non-contiguous input is copied."""
    copied = draft.born(copy_if(not source.is_contiguous(), source))
    rolled: list[int | None] = []
    for _dim in dims[1:]:
        rolled.append(draft.born(dense_bytes(source)))
        draft.dies(copied)
        copied = None
    draft.output()
    draft.dies(*reversed(rolled), copied)


def _power_of_scalar(draft: Draft, base: float, exponent: Tensor) -> None:
    """Pow.cpp and PowKernel.cu: the base becomes a tensor of one element, beside the output."""
    draft.output()
    draft.passing(8 if base != 1 and exponent.numel() else 0)


RULES: dict[Any, Rule] = {
    aten.pow.Scalar: _power_of_scalar,
    aten.log_sigmoid_forward.default: _log_sigmoid,
    aten.roll.default: _roll,
    aten.native_dropout.default: _dropout,
}
