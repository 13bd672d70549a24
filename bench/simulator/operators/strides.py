"""Questions about strides that torch's kernels ask before they copy (c10/core/MemoryFormat.h)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def contiguous_strides(shape: Sequence[int]) -> list[int]:
    """Strides of a contiguous tensor."""
    strides = [1] * len(shape)
    for dim in reversed(range(len(shape) - 1)):
        strides[dim] = strides[dim + 1] * max(shape[dim + 1], 1)
    return strides


def is_dense(tensor: Tensor) -> bool:
    """No holes, no overlaps (is_non_overlapping_and_dense)."""
    expected = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent == 1:
            continue
        if stride != expected:
            return False
        expected *= extent
    return True


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the strides suggest channels_last; ambiguous ones do not (is_channels_last_strides_2d_s4 and _3d_s5)."""
    if tensor.dim() not in (4, 5):
        return False
    least, shape, strides = 0, tensor.shape, tensor.stride()
    for dim in (1, *range(tensor.dim() - 1, 1, -1), 0):
        extent, stride = shape[dim], strides[dim]
        if extent == 0 or stride < least or (dim == 0 and least == strides[1]):
            return False
        least = stride * max(extent, 1)
    return True


def is_laid_out(tensor: Tensor, channels_last: bool) -> bool:
    """Whether a tensor is contiguous in a memory format."""
    if not channels_last:
        return tensor.is_contiguous()
    kind = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d  # noqa: PLR2004
    return tensor.is_contiguous(memory_format=kind)


def suggests_channels_last(*tensors: Tensor) -> bool:
    """cudnn_conv_suggest_memory_format; cuDNN is not given channels_last in float64."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return not wide and any(is_channels_last(tensor) for tensor in tensors)
