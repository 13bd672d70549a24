"""Functions that take another way on CUDA than on tensors without data, sent the CUDA way.

Source: `ATen/native/Linear.cpp`, `ATen/native/Dropout.cpp`, `ATen/native/layer_norm.cpp`,
`ATen/native/transformers/attention.cpp`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from bench.simulator.attention_choice import attention_backend
from bench.simulator.older_torch import as_in_older_torch
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
    return _attention_of_products(query, key, value, attn_mask, dropout_p, is_causal, scale)


def _attention_of_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """_scaled_dot_product_attention_math; a watched step would not add the bias in place."""
    kind = query.dtype
    if kind in (torch.float16, torch.bfloat16) and not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed():
        query, key, value = query.float(), key.float(), value.float()
    factor = math.sqrt(scale if scale is not None else query.shape[-1] ** -0.5)
    scaled = query * factor
    if is_causal:
        length, keys = query.shape[-2], key.shape[-2]
        bias = _as_bias(torch.ones(length, keys, dtype=torch.bool, device=query.device).tril(), query)
    if key.shape[-3] != query.shape[-3]:
        key, value = (one.repeat_interleave(query.shape[-3] // one.shape[-3], -3) for one in (key, value))
    weights = scaled @ (key.transpose(-2, -1) * factor)
    if bias is not None:
        weights.add_(bias)
    weights = aten._safe_softmax(weights, -1)  # noqa: SLF001
    if dropout_p:
        weights = functional.dropout(weights, dropout_p)
    returned = weights.to(kind)
    output = (weights @ value).to(kind)
    del weights, value, key, scaled, bias, query, returned  # in the order in which CUDA lets go of them
    return output


def _first(results: tuple[Tensor, ...]) -> Tensor:
    """The output; CUDA lets go of the others in their order. The caller must hold no reference to them."""
    output, *others = results
    del results
    while others:
        del others[0]
    return output


def _as_bias(mask: Tensor, query: Tensor) -> Tensor:
    """convert_boolean_attn_mask: zero where attention may go, minus infinity elsewhere."""
    infinity = torch.scalar_tensor(float("-inf"), dtype=query.dtype, device=mask.device)
    zero = torch.scalar_tensor(0.0, dtype=query.dtype, device=mask.device)
    bias = torch.where(mask, zero, infinity)
    del zero, infinity  # before the mask, as in C++
    return bias


def _fit_bias(bias: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """preprocess_mask: rows are padded to 8 elements, then the bias is expanded to all heads."""
    length = bias.shape[-1]
    if length % 8:
        bias = _pad_last(bias, 8)[..., :length]
    return bias.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _pad_last(tensor: Tensor, multiple: int) -> Tensor:
    """pad_last_dim."""
    over = tensor.shape[-1] % multiple
    return functional.pad(tensor, (0, multiple - over)) if over else tensor


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
    attention = partial(_attention, device or Device())
    composite = {
        "dropout": _dropout,
        "linear": _linear,
        "rms_norm": _rms_norm,
        "scaled_dot_product_attention": attention,
    }
    meta = {"_fused_rms_norm": _fused_rms_norm, "mish_backward": _mish_backward}
    with as_in_older_torch(composite), implement(composite, meta):
        yield
