"""Functions that take another way on CUDA than on tensors without data, sent the CUDA way.

Source: `ATen/native/Linear.cpp`, `ATen/native/Dropout.cpp`, `ATen/native/layer_norm.cpp`,
`ATen/native/transformers/attention.cpp`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from bench.simulator.attention_choice import attention_backend
from bench.simulator.operators import Device
from bench.simulator.operators.strides import is_channels_last
from bench.simulator.torch_private import call_composite, implement

aten = torch.ops.aten


def _dropout(input: Tensor, p: float, train: bool) -> Tensor:  # noqa: A002 - name of the schema
    """One fused kernel with a mask of one byte per element."""
    if not (train and 0 < p < 1 and input.numel()):
        return call_composite(aten.dropout.default, input, p, train)
    return aten.native_dropout(input, p, train)[0]


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    """Where the bias is not part of the product it is added in place; a watched step would make a new tensor."""
    fused = input.dim() == 2 or input.is_contiguous()  # noqa: PLR2004 - as at::linear
    if bias is None or fused:
        return call_composite(aten.linear.default, input, weight, bias)
    return input.matmul(weight.t()).add_(bias)


def _attention(
    device: Device,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """scaled_dot_product_attention: the kernel that CUDA would choose, on what it is given."""
    backend = attention_backend(device, query, key, value, attn_mask, dropout_p, is_causal, enable_gqa=enable_gqa)
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = _as_bias(attn_mask, query)
    if backend == "cudnn":
        return _first(
            aten._scaled_dot_product_cudnn_attention(  # noqa: SLF001
                query, key, value, attn_mask, trains, dropout_p, is_causal, scale=scale
            )
        )
    if backend == "flash":
        width = query.shape[-1]
        scale = scale if scale is not None else width**-0.5
        padded = [_pad_last(tensor, 8) for tensor in (query, key, value)]
        output = _first(
            aten._scaled_dot_product_flash_attention(*padded, dropout_p, is_causal, scale=scale)  # noqa: SLF001
        )
        return output if output.shape[-1] == width else output[..., :width]
    if backend == "efficient":
        if attn_mask is not None:
            attn_mask = _fit_bias(attn_mask, query, key)
        return _first(
            aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
                query, key, value, attn_mask, trains, dropout_p, is_causal, scale=scale
            )
        )
    return aten._scaled_dot_product_attention_math(  # noqa: SLF001
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )[0]


def _first(results: tuple[Tensor, ...]) -> Tensor:
    """The output; CUDA lets go of the others in their order. The caller must hold no reference to them."""
    output, *others = results
    del results
    while others:
        del others[0]
    return output


def _as_bias(mask: Tensor, query: Tensor) -> Tensor:
    """convert_boolean_attn_mask: zero where attention may go, minus infinity elsewhere."""
    zero, infinity = (torch.scalar_tensor(value, dtype=query.dtype, device="cpu") for value in (0.0, float("-inf")))
    return torch.where(mask, zero, infinity)


def _fit_bias(bias: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """preprocess_mask: rows are padded to 16 elements, then the bias is expanded to all heads."""
    length = bias.shape[-1]
    if length % 16:
        bias = torch.nn.functional.pad(bias, (0, 16 - length % 16))[..., :length]
    return bias.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _pad_last(tensor: Tensor, multiple: int) -> Tensor:
    """pad_last_dim."""
    over = tensor.shape[-1] % multiple
    return torch.nn.functional.pad(tensor, (0, multiple - over)) if over else tensor


def _rms_norm(
    input: Tensor,  # noqa: A002
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """layer_norm.cpp, rms_norm_symint: one fused kernel where the weight has the type of the input."""
    if is_channels_last(input) or (weight is not None and weight.dtype != input.dtype):
        return call_composite(aten.rms_norm.default, input, normalized_shape, weight, eps)
    return aten._fused_rms_norm(input, normalized_shape, weight, eps)[0]  # noqa: SLF001


def _fused_rms_norm(
    input: Tensor,  # noqa: A002
    normalized_shape: list[int],
    weight: Tensor | None,
    _eps: float | None,
) -> tuple[Tensor, Tensor]:
    """layer_norm_kernel.cu: the output, and one deviation for each row."""
    del weight
    kept = input.shape[: input.dim() - len(normalized_shape)]
    wide = torch.float32 if input.element_size() < 4 else input.dtype  # noqa: PLR2004
    return torch.empty_like(input, memory_format=torch.contiguous_format), input.new_empty(
        (*kept, *(1 for _ in normalized_shape)), dtype=wide
    )


def _mish_backward(_grad_output: Tensor, input: Tensor) -> Tensor:  # noqa: A002
    """Activation.cpp: one kernel."""
    return torch.empty_like(input)


@contextmanager
def as_on_cuda(device: Device | None = None) -> Iterator[None]:
    """While it lasts, tensors without data take CUDA's ways: linear layers, dropout, attention, RMS normalisation.

    Args:
        device: decides which attention runs; None for an H200 with torch 2.15.
    """
    composite = {
        "dropout": _dropout,
        "linear": _linear,
        "rms_norm": _rms_norm,
        "scaled_dot_product_attention": partial(_attention, device or Device()),
    }
    meta = {"_fused_rms_norm": _fused_rms_norm, "mish_backward": _mish_backward}
    with implement(composite, meta):
        yield
