"""Strides that results have on CUDA, where the meta device chooses others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.strides import is_channels_last, is_dense, suggests_channels_last

aten = torch.ops.aten


def _in_memory_format(tensor: Tensor, channels_last: bool) -> Tensor:
    if not channels_last:
        return tensor.contiguous()
    kind = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d  # noqa: PLR2004
    return tensor.contiguous(memory_format=kind)


def _contiguous(result: Tensor, *_: Any) -> Tensor:
    return result.contiguous()


def _like_first(result: Tensor, first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first) if is_dense(first) else result


def _like_convolution(result: Tensor, source: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return _in_memory_format(result, suggests_channels_last(source, weight))


def _like_convolution_backward(result: Tensor, _gradient: Tensor, source: Tensor, weight: Tensor, *_: Any) -> Tensor:
    """Before torch 2.12 the meta device follows the gradient."""
    return _in_memory_format(result, suggests_channels_last(source, weight))


def _like_second(result: Tensor, _first: Tensor, second: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(second) if is_dense(second) else result


def _like_input(result: Tensor, _gradient: Tensor, source: Tensor, *_: Any) -> Tensor:
    return _in_memory_format(result, is_channels_last(source))


LAYOUTS: dict[Any, Callable[..., Tensor]] = {
    aten.convolution.default: _like_convolution,
    aten.convolution_backward.default: _like_convolution_backward,
    aten.native_batch_norm_backward.default: _like_input,
    aten.binary_cross_entropy_backward.default: _like_second,
    aten.cudnn_batch_norm_backward.default: _like_first,
    aten.native_layer_norm_backward.default: _contiguous,
    aten._log_softmax_backward_data.default: _contiguous,  # noqa: SLF001
    aten.mse_loss_backward.default: _contiguous,
    aten.smooth_l1_loss_backward.default: _contiguous,
    aten.huber_loss_backward.default: _contiguous,
    aten.glu_backward.default: _contiguous,
    aten.pixel_unshuffle.default: _contiguous,
    aten.hardtanh_backward.default: _like_first,
    aten.hardsigmoid_backward.default: _like_first,
    aten.hardswish_backward.default: _like_first,
    aten.elu_backward.default: _like_first,
    aten.softplus_backward.default: _like_first,
}
"""Layout of the first output, and of both gradients of a convolution, by operator; found by comparing both devices on
arguments that are not contiguous."""


def lay_out(func: Any, args: tuple[Any, ...], result: Any) -> Any:
    """The result of a call with the strides it has on CUDA, where the meta device chooses others.

    Strides decide what later operators copy.

    Args:
        func: operator overload.
        args: positional arguments of the call.
        result: what the meta device returned; nothing may refer to it yet.
    """
    layout = LAYOUTS.get(func)
    if layout is None:
        return result
    if isinstance(result, Tensor):
        return layout(result, *args)
    count = 2 if func is aten.convolution_backward.default else 1
    laid_out = (item if item is None else layout(item, *args) for item in result[:count])
    return (*laid_out, *result[count:])
