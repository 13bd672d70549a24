"""Softmax and log softmax (ATen/native/cuda/SoftMax.cu)."""

from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, broadcast, copy_if
from bench.simulator.operators.strides import is_dense

aten = torch.ops.aten


def _softmax(draft: Draft, source: Tensor, *_: Any) -> None:
    """SoftMax.cu: a non-contiguous input is copied."""
    draft.output()
    draft.passing(copy_if(not source.is_contiguous(), source))


def _softmax_backward(draft: Draft, gradient: Tensor, output: Tensor, *_: Any) -> None:
    """SoftMax.cu: the product of gradient and output, then contiguous copies of what is not."""
    draft.output()
    product = broadcast(gradient, output)[1]
    leading = gradient if is_dense(gradient) else output
    copied = 0 if leading.is_contiguous() else product
    draft.passing(product, copied, copy_if(not output.is_contiguous(), output))


def _log_softmax_backward(draft: Draft, gradient: Tensor, output: Tensor, *_: Any) -> None:
    draft.output()
    draft.passing(*(copy_if(not tensor.is_contiguous(), tensor) for tensor in (gradient, output)))


def _safe_softmax(draft: Draft, source: Tensor, *_: Any, **__: Any) -> None:
    """SoftMax.cpp: the softmax, then what is minus infinity, rows of nothing else, and a zero to put there."""
    draft.output()
    rows = source.numel() // source.shape[-1] if source.dim() else 1
    draft.passing(source.numel(), rows, source.element_size())


RULES: dict[Any, Rule] = {
    aten._safe_softmax.default: _safe_softmax,  # noqa: SLF001
    aten._softmax.default: _softmax,  # noqa: SLF001
    aten._log_softmax.default: _softmax,  # noqa: SLF001
    aten._softmax_backward_data.default: _softmax_backward,  # noqa: SLF001
    aten._log_softmax_backward_data.default: _log_softmax_backward,  # noqa: SLF001
}
