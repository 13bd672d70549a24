"""Gradients of pooling and of interpolation: what is brought to another memory format."""

from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, copy_if
from bench.simulator.operators.strides import is_channels_last, is_laid_out

aten = torch.ops.aten


def _pool_backward(draft: Draft, gradient: Tensor, source: Tensor, *others: Any) -> None:
    """AveragePool2d.cu and DilatedMaxPool2d.cu: gradient and indices are brought to the memory format of the input."""
    draft.output()
    channels_last = is_channels_last(source)
    read = (gradient, *(other for other in others if isinstance(other, Tensor)))
    draft.passing(*(copy_if(not is_laid_out(tensor, channels_last), tensor) for tensor in read))


def _adaptive_pool_backward(draft: Draft, gradient: Tensor, source: Tensor) -> None:
    """AdaptiveAveragePooling.cu: only the kernel for contiguous inputs needs a contiguous gradient."""
    draft.output()
    draft.passing(copy_if(not (is_channels_last(source) or gradient.is_contiguous()), gradient))


def _upsample_backward(draft: Draft, gradient: Tensor, *_: Any) -> None:
    """UpSampleBilinear2d.cu: the gradient is made dense in its own memory format."""
    draft.output()
    draft.passing(copy_if(not is_laid_out(gradient, is_channels_last(gradient)), gradient))


RULES: dict[Any, Rule] = {
    aten.avg_pool2d_backward.default: _pool_backward,
    aten.max_pool2d_with_indices_backward.default: _pool_backward,
    aten._adaptive_avg_pool2d_backward.default: _adaptive_pool_backward,  # noqa: SLF001
    aten.upsample_bilinear2d_backward.default: _upsample_backward,
    aten.upsample_nearest2d_backward.default: _upsample_backward,
}
