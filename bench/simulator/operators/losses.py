"""Losses: the one per element, before they are reduced."""

from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, broadcast, dense_bytes
from bench.simulator.operators.staging import converted_source, dense_source, reduce

aten = torch.ops.aten


_NO_REDUCTION, _MEAN = 0, 1


def _elementwise_loss(draft: Draft, source: Tensor, target: Tensor, reduction: int = _MEAN, *_: Any) -> None:
    """Loss.cpp, mse_loss, smooth_l1_loss: the output is made at full size; what is reduced is a second such tensor."""
    shape, size = broadcast(source, target)
    draft.output(0, size)
    if reduction != _NO_REDUCTION:
        losses = draft.born(size)
        reduce(draft, dense_source(shape, source.element_size()))
        draft.dies(losses)


def _huber_loss(draft: Draft, source: Tensor, target: Tensor, reduction: int = _MEAN, *_: Any) -> None:
    """Loss.cpp, huber_loss: one loss per element, then its mean."""
    shape, size = broadcast(source, target)
    if reduction == _NO_REDUCTION:
        draft.output()
        return
    losses = draft.born(size)
    draft.output()
    reduce(draft, dense_source(shape, source.element_size()))
    draft.dies(losses)


def _binary_cross_entropy(
    draft: Draft, source: Tensor, _target: Tensor, _weight: Tensor | None = None, reduction: int = _MEAN
) -> None:
    """Loss.cu: one loss per element; the mean is copied into that tensor, whose storage keeps its size."""
    draft.output(0, dense_bytes(source))
    if reduction != _NO_REDUCTION:
        mean = draft.born(source.element_size())
        reduce(draft, converted_source(source, source.element_size()))
        draft.dies(mean)


def _cross_entropy_with_logits(
    draft: Draft,
    source: Tensor,
    target: Tensor,
    _weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = _MEAN,
) -> None:
    """Loss.cpp, binary_cross_entropy_with_logits: log sigmoid, the weight of positives, losses, mean."""
    size = dense_bytes(source)
    sigmoid = draft.born(size)
    if pos_weight is not None:
        scale = draft.born(dense_bytes(pos_weight))
        scaled = draft.born(broadcast(pos_weight, target)[1])
        draft.dies(scale, scaled)
    if reduction == _NO_REDUCTION:
        draft.output()
        draft.dies(sigmoid)
        return
    losses = draft.born(size)
    draft.output()
    reduce(draft, converted_source(source, source.element_size()))
    draft.dies(losses, sigmoid)


def _nll_loss2d(
    draft: Draft, _source: Tensor, _target: Tensor, _weight: Tensor | None, reduction: int, *_: Any
) -> None:
    """NLLLoss2d.cu: the total weight is made before the loss, which is there at once where it is reduced."""
    if reduction == _NO_REDUCTION:
        draft.output(1)
        draft.output(0)
    else:
        draft.outputs(2)


RULES: dict[Any, Rule] = {
    aten.mse_loss.default: _elementwise_loss,
    aten.smooth_l1_loss.default: _elementwise_loss,
    aten.huber_loss.default: _huber_loss,
    aten.binary_cross_entropy.default: _binary_cross_entropy,
    aten.binary_cross_entropy_with_logits.default: _cross_entropy_with_logits,
    aten.nll_loss2d_forward.default: _nll_loss2d,
}
