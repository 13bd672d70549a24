"""Functions that take another way on CUDA than on tensors without data, sent the CUDA way.

Source: `ATen/native/Linear.cpp`, `ATen/native/Dropout.cpp`,
`ATen/native/transformers/cuda/sdp_utils.cpp`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten
_plain_linear = functional.linear
_plain_dropout = functional.dropout
_plain_attention = functional.scaled_dot_product_attention


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
    """One fused kernel with a mask of one byte per element."""
    if not (input.is_meta and training and 0 < p < 1) or inplace:
        return _plain_dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, training)[0]


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The memory-efficient kernel for float32 or a mask, the flash kernel for 16 bits."""
    if not query.is_meta or enable_gqa or query.dim() != 4:  # noqa: PLR2004 - (batch, heads, length, width)
        return _plain_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if attn_mask is None and query.dtype in (torch.float16, torch.bfloat16):
        return aten._scaled_dot_product_flash_attention(  # noqa: SLF001
            query, key, value, dropout_p, is_causal, scale=scale
        )[0]
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    output, sums, seed, offset = aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
        query, key, value, attn_mask, trains, dropout_p, is_causal, scale=scale
    )
    del sums, seed, offset  # in the order in which CUDA lets go of them
    return output


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    """Where the bias is not part of the product it is added in place; a watched step would make a new tensor."""
    fused = input.dim() == 2 or input.is_contiguous()  # noqa: PLR2004 - as at::linear
    if not input.is_meta or bias is None or fused:
        return _plain_linear(input, weight, bias)
    return input.matmul(weight.t()).add_(bias)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """While it lasts, linear layers, dropout and attention take their CUDA way on tensors without data."""
    with (
        patch.object(functional, "linear", _linear),
        patch.object(functional, "dropout", _dropout),
        patch.object(functional, "scaled_dot_product_attention", _attention),
    ):
        yield
