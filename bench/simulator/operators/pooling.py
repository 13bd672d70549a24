"""Pooling, interpolation and padding: what their kernels need to be contiguous."""

import math
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, copy_if, dense_bytes
from bench.simulator.operators.strides import is_channels_last, is_laid_out

aten = torch.ops.aten


def _reads(*places: int, outputs: int = 1, own_format: bool = False, first: bool = False) -> Rule:
    """A kernel that reads contiguous tensors.

    Args:
        places: of these arguments a copy is made where they are not contiguous, one after the other.
        outputs: how many the operator has.
        own_format: contiguous in the memory format of their own instead.
        first: whether copies are made before the outputs.
    """

    def rule(draft: Draft, *args: Any, **_: Any) -> None:
        read = [args[place] for place in places]
        sizes = [copy_if(not is_laid_out(one, own_format and is_channels_last(one)), one) for one in read]
        if first:
            copies = [draft.born(size) for size in sizes]
            draft.outputs(outputs)
            draft.dies(*reversed(copies))
        else:
            draft.outputs(outputs)
            draft.passing(*sizes)

    return rule


def _pool_backward(draft: Draft, gradient: Tensor, source: Tensor, *others: Any) -> None:
    """AveragePool2d.cu and DilatedMaxPool2d.cu: all are brought to the memory format of the input."""
    draft.output()
    channels_last = is_channels_last(source)
    # Average pooling reads shapes alone of its input.
    indices = [other for other in others if isinstance(other, Tensor)]
    read = (source, gradient, *indices) if indices else (source, gradient)
    draft.passing(*(copy_if(not is_laid_out(tensor, channels_last), tensor) for tensor in read))


def _adaptive_pool(draft: Draft, source: Tensor, *_: Any) -> None:
    """AdaptiveAveragePooling.cu: a copy in the memory format of the input comes first."""
    copied = draft.born(copy_if(not is_laid_out(source, is_channels_last(source)), source))
    draft.output()
    draft.dies(copied)


def _adaptive_pool_backward(draft: Draft, gradient: Tensor, source: Tensor) -> None:
    """AdaptiveAveragePooling.cu: only the kernel for contiguous inputs needs a contiguous gradient."""
    draft.output()
    draft.passing(copy_if(not (is_channels_last(source) or gradient.is_contiguous()), gradient))


def _adaptive_max_pool(draft: Draft, source: Tensor, output_size: Any) -> None:
    """AdaptiveMaxPooling2d.cu: the kernel writes contiguous tensors, which are then laid out as the input."""
    draft.outputs(2)
    elements = source.shape[:-2].numel() * output_size[0] * output_size[1]
    apart = [elements * source.element_size(), elements * 8] if is_channels_last(source) else []
    draft.passing(*apart, copy_if(not source.is_contiguous(), source))


def _adaptive_max_pool_backward(draft: Draft, gradient: Tensor, source: Tensor, indices: Tensor) -> None:
    """AdaptiveMaxPooling2d.cu."""
    draft.output()
    apart = dense_bytes(source) if is_channels_last(source) else 0
    draft.passing(*(copy_if(not tensor.is_contiguous(), tensor) for tensor in (gradient, indices)), apart)


def _nearest3d(draft: Draft, source: Tensor, output_size: Any, *_: Any) -> None:
    """UpSampleNearest3d.cu: the kernel reads and writes contiguous tensors."""
    draft.output()
    pixels = output_size[0] * output_size[1] * output_size[2]
    apart = source.shape[:2].numel() * pixels * source.element_size() if is_channels_last(source) else 0
    draft.passing(apart, copy_if(not source.is_contiguous(), source))


def _max_pool3d_backward(draft: Draft, gradient: Tensor, source: Tensor, *others: Any) -> None:
    """DilatedMaxPool3d.cu: gradient and indices are brought to the memory format of the input."""
    draft.output()
    channels_last = is_channels_last(source)
    draft.passing(*(copy_if(not is_laid_out(one, channels_last), one) for one in (gradient, others[-1])))


def _trilinear_backward(draft: Draft, gradient: Tensor, _size: Any, source_shape: Any, *_: Any) -> None:
    """UpSampleTrilinear3d.cu: the kernel reads and writes contiguous tensors."""
    draft.output()
    apart = math.prod(source_shape) * gradient.element_size() if is_channels_last(gradient) else 0
    draft.passing(copy_if(not gradient.is_contiguous(), gradient), apart)


def _im2col(draft: Draft, source: Tensor, *_: Any) -> None:
    """Im2Col.cu: the output begins at the size of the input and is then resized."""
    begun = draft.born(dense_bytes(source))
    copied = draft.born(copy_if(not source.is_contiguous(), source))
    draft.output()
    draft.dies(begun, copied)


RULES: dict[Any, Rule] = {
    aten.avg_pool2d.default: _reads(0, own_format=True),
    aten.max_pool2d_with_indices.default: _reads(0, outputs=2, own_format=True),
    aten.avg_pool2d_backward.default: _pool_backward,
    aten.max_pool2d_with_indices_backward.default: _pool_backward,
    aten._adaptive_avg_pool2d.default: _adaptive_pool,  # noqa: SLF001
    aten._adaptive_avg_pool2d_backward.default: _adaptive_pool_backward,  # noqa: SLF001
    aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    aten.adaptive_max_pool2d_backward.default: _adaptive_max_pool_backward,
    aten.avg_pool3d.default: _reads(0),
    aten.avg_pool3d_backward.default: _reads(0),
    aten.max_pool3d_with_indices_backward.default: _max_pool3d_backward,
    aten._adaptive_avg_pool3d.default: _reads(0, first=True),  # noqa: SLF001
    aten._adaptive_avg_pool3d_backward.default: _reads(0),  # noqa: SLF001
    aten.adaptive_max_pool3d.default: _reads(0, outputs=2),
    aten.adaptive_max_pool3d_backward.default: _reads(0, 2),
    aten.upsample_nearest1d.default: _reads(0),
    aten.upsample_nearest1d_backward.default: _reads(0),
    aten.upsample_linear1d_backward.default: _reads(0),
    aten.upsample_nearest2d.default: _reads(0, own_format=True),
    aten.upsample_nearest2d_backward.default: _reads(0, own_format=True),
    aten.upsample_bilinear2d_backward.default: _reads(0, own_format=True),
    aten.upsample_bicubic2d_backward.default: _reads(0),
    aten.upsample_nearest3d.default: _nearest3d,
    aten.upsample_nearest3d_backward.default: _reads(0),
    aten.upsample_trilinear3d_backward.default: _trilinear_backward,
    aten.reflection_pad1d.default: _reads(0),
    aten.reflection_pad1d_backward.default: _reads(0),
    aten.reflection_pad2d.default: _reads(0),
    aten.reflection_pad2d_backward.default: _reads(0),
    aten.im2col.default: _im2col,
}
