"""Batch, group and layer normalisation: statistics, sums and staging."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, copy_if, dense_bytes, divide_up, power_below
from bench.simulator.operators.staging import MAX_THREADS, WARP, dense_source, reduce
from bench.simulator.operators.strides import is_channels_last, is_laid_out

aten = torch.ops.aten


def _group_norm(draft: Draft, source: Tensor, weight: Tensor | None, bias: Tensor | None, *sizes: float) -> None:
    """group_norm_kernel.cu: statistics in float32 where the input is narrower; scale and shift per channel."""
    images, channels, _, groups, _ = sizes
    copied = draft.born(copy_if(not is_laid_out(source, is_channels_last(source)), source))
    draft.outputs(3)
    wide = max(source.element_size(), 4)
    statistics = int(images * groups) * wide if source.element_size() < wide else 0
    affine = int(images * channels) * wide if weight is not None or bias is not None else 0
    draft.passing(statistics, statistics, affine, affine)
    draft.dies(copied)


def _group_norm_backward(
    draft: Draft,
    gradient: Tensor,
    source: Tensor,
    _mean: Tensor,
    _deviation: Tensor,
    weight: Tensor | None,
    images: int,
    channels: int,
    pixels: int,
    groups: int,
    output_mask: Sequence[bool],
) -> None:
    """group_norm_kernel.cu: two sums per channel; for the input's gradient two per group and a factor per channel."""
    channels_last = is_channels_last(source)
    copies = [draft.born(copy_if(not is_laid_out(tensor, channels_last), tensor)) for tensor in (gradient, source)]
    draft.outputs(sum(output_mask))
    wide = max(source.element_size(), 4)
    sums = [draft.born(images * channels * wide) for _ in range(2)]
    if output_mask[0]:
        of_groups = [draft.born(images * groups * wide) for _ in range(2)]
        factored = weight is not None and pixels > 1 and not channels_last
        factors = draft.born(images * channels * wide if factored else 0)
        draft.dies(*reversed(of_groups), factors)
    draft.dies(*reversed(sums), *reversed(copies))


def _layer_norm(draft: Draft, source: Tensor, *_: Any) -> None:
    """layer_norm_kernel.cu: a non-contiguous input is copied."""
    copied = draft.born(copy_if(not source.is_contiguous(), source))
    draft.outputs(3)
    draft.dies(copied)


_MANY_ROWS = 64 * 1024
_ROWS_PER_BLOCK = 32
_MOST_BLOCKS = _MANY_ROWS // 2


def _layer_norm_backward(
    draft: Draft,
    gradient: Tensor,
    source: Tensor,
    normalized_shape: Sequence[int],
    *others: Any,
) -> None:
    """layer_norm_kernel.cu: with many short rows, weight and bias gradients are summed in two stages."""
    source_copy = draft.born(copy_if(not source.is_contiguous(), source))
    columns = math.prod(normalized_shape)
    rows = source.numel() // columns
    width = source.element_size()
    column_blocks = divide_up(columns, WARP)
    staged = rows > _MANY_ROWS and columns // WARP < draft.device.multiprocessors // 2
    of_input, *of_affine = others[-1]
    count = sum(of_affine)
    if of_input:
        draft.output(0)
    if not staged:
        for index in range(count):
            draft.output(int(of_input) + index)
        draft.passing(copy_if(not gradient.is_contiguous(), gradient))
        draft.dies(source_copy)
        return
    first = [draft.born(columns * width) for _ in range(count)]
    gradient_copy = draft.born(copy_if(not gradient.is_contiguous(), gradient))
    blocks = min(_MOST_BLOCKS // column_blocks, divide_up(rows, _ROWS_PER_BLOCK))
    partial = [draft.born(blocks * columns * width) for _ in range(count)]
    for index, replaced in enumerate(first):
        draft.output(int(of_input) + index)
        reduce(draft, dense_source((blocks, columns), width), 0)
        draft.dies(replaced)
    draft.dies(*reversed(partial))
    draft.dies(gradient_copy, source_copy)


_CUDNN_IMAGES = 880_801, 65_535
"""Most images of a batch that cuDNN normalises, in training and with running statistics."""
_CUDNN_LEAST_EPSILON = 1e-5


def _batch_norm(
    draft: Draft,
    source: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    _running_mean: Tensor | None,
    _running_variance: Tensor | None,
    training: bool,
    _momentum: float,
    epsilon: float,
) -> None:
    """Normalization.cpp and Normalization.cu; the meta device knows this operator where CUDA goes to cuDNN."""
    if bias is not None and _is_cudnn_norm(source, weight, training, epsilon):
        copied = draft.born(copy_if(not is_laid_out(source, is_channels_last(source)), source))
        _cudnn_batch_norm(draft, source, weight, bias, None, None, training)
        draft.dies(copied)
        return
    channels = source.shape[1] * max(source.element_size(), 4)
    draft.output(0)
    draft.output(1, channels)
    draft.output(2, channels)
    if training and _is_in_rows(source):
        draft.passing(*_norm_staging(source, 4))


def _batch_norm_backward(
    draft: Draft,
    gradient: Tensor,
    source: Tensor,
    weight: Tensor | None,
    *others: Any,
) -> None:
    """Normalization.cu: where channels are the fastest dimension, sums come first and the input's gradient last."""
    training, epsilon, output_mask = others[4:]
    if training and _is_cudnn_norm(source, weight, training, epsilon):
        _cudnn_batch_norm_backward(draft, source, gradient, output_mask=output_mask)
    elif _is_in_rows(source):
        of_input, *of_affine = output_mask
        sums = [draft.born(source.shape[1] * max(source.element_size(), 4)) for _ in range(2)]
        for index in range(sum(of_affine)):
            draft.output(int(of_input) + index)
        draft.passing(*_norm_staging(source, 2))
        if of_input:
            draft.output(0)
        draft.dies(*reversed(sums))
    else:
        draft.outputs(sum(output_mask))


def _cudnn_batch_norm(
    draft: Draft, _source: Tensor, _weight: Any, _bias: Any, _mean: Any, _variance: Any, training: bool, *_: Any
) -> None:
    """cudnn/BatchNorm.cpp; with running statistics nothing is saved."""
    draft.outputs(3 if training else 1)


def _cudnn_batch_norm_backward(
    draft: Draft, source: Tensor, gradient: Tensor, *_: Any, output_mask: Sequence[bool] = (True, True, True)
) -> None:
    """cudnn/BatchNorm.cpp: the gradient is brought to the memory format of the input; cuDNN gives all three gradients.

    Those that nobody asked for die when the node of the backward is over.
    """
    copied = draft.born(copy_if(not is_laid_out(gradient, is_channels_last(source)), gradient))
    unasked: list[int | None] = []
    for index, asked in enumerate(output_mask):
        if asked:
            draft.output(sum(output_mask[:index]))
        else:
            size = dense_bytes(source) if index == 0 else source.shape[1] * max(source.element_size(), 4)
            unasked.append(draft.born(size))
    draft.dies(copied)
    draft.dies(*unasked)


def _is_cudnn_norm(source: Tensor, weight: Tensor | None, training: bool, epsilon: float) -> bool:
    """Whether batch normalisation goes to cuDNN (_batch_norm_impl_index)."""
    return (
        weight is not None
        and source.dim() >= 3  # noqa: PLR2004 - (batch, channels, length ...)
        and source.dtype != torch.bfloat16
        and (source.dtype != torch.float16 or weight.dtype == torch.float32)
        and source.shape[0] <= _CUDNN_IMAGES[0 if training else 1]
        and epsilon >= _CUDNN_LEAST_EPSILON
    )


def _is_in_rows(source: Tensor) -> bool:
    """Whether channels are the fastest dimension of a dense tensor (batch_norm_choose_impl)."""
    return source.stride(1) == 1 and (source.is_contiguous() or is_laid_out(source, channels_last=True))


def _norm_staging(source: Tensor, values: int) -> tuple[int, int]:
    """Bytes of staging buffer, `values` float32 per channel and block, and semaphores (flexible_launch_configs)."""
    channels = source.shape[1]
    rows = source.numel() // channels
    height = min(power_below(divide_up(rows, 16)), MAX_THREADS // min(power_below(channels), WARP))
    width = min(power_below(channels), MAX_THREADS // height)
    blocks = min(divide_up(rows, height * 16), 128)
    if blocks < 8:  # noqa: PLR2004 - one block is then enough
        return 0, 0
    return values * channels * blocks * 4, 4 * divide_up(channels, width)


RULES: dict[Any, Rule] = {
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.cudnn_batch_norm.default: _cudnn_batch_norm,
    aten.cudnn_batch_norm_backward.default: _cudnn_batch_norm_backward,
}
