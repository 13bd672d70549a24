"""Convolutions and their gradients (ATen/native/Convolution.cpp, ATen/native/cudnn/ConvShared.cpp)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Device, Draft, Rule, copy_if
from bench.simulator.operators.staging import reduce, source_of
from bench.simulator.operators.strides import is_channels_last, is_laid_out, suggests_channels_last
from bench.simulator.workspaces import ConvolutionSignature, Direction

aten = torch.ops.aten


_LINE, _PLANE = 3, 4
"""Ranks of images of one dimension, which are taken for images of height 1 (view4d), and of two."""


def _convolution(draft: Draft, source: Tensor, weight: Tensor, _bias: Tensor | None, *layer: Any) -> None:
    """Input and weight are brought to one memory format; the bias is added in place."""
    line_copy = None
    if source.dim() == _LINE:
        line_copy = draft.born(copy_if(not source.is_contiguous(), source))
        source, weight = source.contiguous().unsqueeze(2), weight.unsqueeze(2)
    channels_last = suggests_channels_last(source, weight)
    source_copy = draft.born(copy_if(not is_laid_out(source, channels_last), source))
    draft.output()
    weight_copy = draft.born(copy_if(not is_laid_out(weight, channels_last), weight))
    draft.passing(_workspace(draft.device, "forward", source, weight, layer), workspace=True)
    draft.dies(weight_copy, source_copy, line_copy)


def _convolution_backward(
    draft: Draft, gradient: Tensor, source: Tensor, weight: Tensor, _bias_sizes: Any, *layer_and_mask: Any
) -> None:
    """Gradient of the input, of the weight, of the bias; each brings what it reads to one memory format."""
    *layer, mask = layer_and_mask
    line_copy = None
    if source.dim() == _LINE:
        line_copy = draft.born(copy_if(not source.is_contiguous(), source))
        source, gradient, weight = source.contiguous().unsqueeze(2), gradient.unsqueeze(2), weight.unsqueeze(2)
    if not _is_native_depthwise(source, weight, transposed=layer[3], groups=layer[5]):
        _cudnn_backward(draft, gradient, source, weight, layer, mask)
        _bias_gradient(draft, gradient, mask)
    elif source.dim() == _PLANE:
        # DepthwiseConv2d.cu: weight first
        source_copy, gradient_copy = (draft.born(copy_if(not t.is_contiguous(), t)) for t in (source, gradient))
        for index in reversed(range(mask[0] + mask[1])):
            draft.output(index)
        draft.dies(gradient_copy, source_copy)
        _bias_gradient(draft, gradient, mask)
    else:
        # DepthwiseConv3d.cu
        draft.outputs(mask[0] + mask[1])
        copies = [draft.born(copy_if(not t.is_contiguous(), t)) for t in (gradient, source)]
        _bias_gradient(draft, gradient, mask)
        draft.dies(*reversed(copies))
    draft.dies(line_copy)


def _cudnn_backward(
    draft: Draft, gradient: Tensor, source: Tensor, weight: Tensor, layer: Sequence[Any], mask: Sequence[bool]
) -> None:
    """ConvShared.cpp, cudnn_convolution_backward and its transpose: without the bias."""
    of_input, of_weight, _ = mask
    channels_last = suggests_channels_last(source, weight)
    source_copy = draft.born(copy_if(not is_laid_out(source, channels_last), source))
    # A transposed convolution makes the gradient contiguous once; others only change its memory format.
    laid_out = is_laid_out(gradient, channels_last)
    at_once = not laid_out if layer[3] else channels_last != is_channels_last(gradient)
    gradient_copy = draft.born(copy_if(at_once, gradient))
    copy_bytes = copy_if(not laid_out and not at_once, gradient)
    if of_input:
        draft.output(0)
        copies = [draft.born(copy_if(not is_laid_out(weight, channels_last), weight)), draft.born(copy_bytes)]
        draft.passing(_workspace(draft.device, "input_gradient", source, weight, layer), workspace=True)
        draft.dies(*reversed(copies))
    if of_weight:
        copied = draft.born(copy_bytes)
        draft.output(int(of_input))
        draft.passing(_workspace(draft.device, "weight_gradient", source, weight, layer), workspace=True)
        draft.dies(copied)
    draft.dies(gradient_copy, source_copy)


def _bias_gradient(draft: Draft, gradient: Tensor, mask: Sequence[bool]) -> None:
    if mask[2]:
        draft.output(mask[0] + mask[1])
        reduce(draft, source_of(gradient), [dim for dim in range(gradient.dim()) if dim != 1])


def _is_native_depthwise(source: Tensor, weight: Tensor, transposed: bool, groups: int) -> bool:
    """Whether torch's own depthwise kernels run (is_depthwise and not use_cudnn_depthwise)."""
    depthwise = groups > 1 and groups == source.shape[1] and weight.shape[0] % source.shape[1] == 0
    return depthwise and not transposed and source.dim() in (4, 5) and not suggests_channels_last(source, weight)


_CUDNN_TYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
}


def _workspace(device: Device, direction: Direction, source: Tensor, weight: Tensor, layer: Sequence[Any]) -> int:
    """Bytes cuDNN takes for a convolution; layer: stride, padding, dilation, transposed, output padding, groups."""
    if device.convolution_workspace is None or source.dtype not in _CUDNN_TYPES:
        return 0
    stride, padding, dilation, transposed, output_padding, groups = layer
    if _is_native_depthwise(source, weight, transposed, groups):
        return 0
    spatial = source.dim() - 2
    return device.convolution_workspace(
        ConvolutionSignature(
            direction=direction,
            dtype=_CUDNN_TYPES[source.dtype],
            tf32=device.tf32,
            channels_last=suggests_channels_last(source, weight),
            input_shape=tuple(source.shape),
            weight_shape=tuple(weight.shape),
            stride=_per_dimension(stride, spatial),
            padding=_per_dimension(padding, spatial),
            dilation=_per_dimension(dilation, spatial),
            output_padding=_per_dimension(output_padding, spatial) if transposed else (),
            groups=groups,
            transposed=transposed,
        )
    )


def _per_dimension(values: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(values) if len(values) == count else tuple(values) * count


RULES: dict[Any, Rule] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
