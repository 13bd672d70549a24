"""Scaled dot product attention: the memory-efficient, flash and cuDNN kernels."""

import math
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Device, Draft, Rule, copy_if, divide_up, padded

aten = torch.ops.aten


_ATTENTION_TILE = 64
_FLASH_ROWS = 128
_SEEDS_SINCE = (2, 14)
"""torch version from which seed and offset are made on the device where there is no dropout."""


def _efficient_attention(
    draft: Draft,
    _query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    compute_log_sumexp: bool,
    dropout_p: float = 0.0,
    *_: Any,
    **__: Any,
) -> None:
    """attention.cu, _efficient_attention_forward: with dropout, seed and offset stay on the host."""
    if dropout_p == 0 and draft.device.torch_version >= _SEEDS_SINCE:
        draft.output(2)
        draft.output(3)
    draft.output(0)
    if compute_log_sumexp:
        draft.output(1)


def _efficient_attention_backward(
    draft: Draft,
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    out: Tensor,
    *_: Any,
    **__: Any,
) -> None:
    """attention_backward.cu: products of gradient and output, their sums, and a workspace to accumulate in."""
    batch, heads, rows, columns = query.shape
    copied = draft.born(copy_if(not gradient.transpose(1, 2).is_contiguous(), gradient))
    for index in range(3):
        draft.output(index)
    # Gradients of keys that several heads share are first made for every head.
    shared = batch * heads * key.shape[2] * columns * key.element_size() if key.shape[1] != heads else 0
    expanded = [draft.born(shared) for _ in range(2)]
    sums = batch * heads * rows * 4
    if query.dtype == torch.float32:
        products = draft.born(out.numel() * 4)
        delta = draft.born(sums)
        delta_copy = draft.born(sums)
        draft.dies(delta, products)
        delta = delta_copy
    else:
        delta = draft.born(sums)
    # Each tile of the query's gradient has a lock beside it.
    large, ampere = columns > _ATTENTION_TILE, draft.device.capability >= (8, 0)
    narrow = query.element_size() == 2  # noqa: PLR2004
    tile_rows = 2 * _ATTENTION_TILE if large and (ampere or narrow) else _ATTENTION_TILE
    tile_columns = 2 * _ATTENTION_TILE if large and ampere and narrow else _ATTENTION_TILE
    tiles = divide_up(rows, tile_rows) * divide_up(columns, tile_columns)
    workspace = draft.born(batch * heads * tiles * (tile_rows * tile_columns * 4 + 16))
    draft.dies(delta, workspace, *reversed(expanded), copied)


def _cudnn_attention(
    draft: Draft,
    _query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    compute_log_sumexp: bool,
    *_: Any,
    **__: Any,
) -> None:
    """attention.cu, _scaled_dot_product_cudnn_attention_cuda, without the workspace of cuDNN's plan."""
    draft.output(2)
    draft.output(3)
    draft.output(0)
    if compute_log_sumexp:
        draft.output(1)


def _cudnn_attention_backward(draft: Draft, _gradient: Tensor, query: Tensor, *_: Any, **__: Any) -> None:
    """MHA.cpp, run_cudnn_SDP_bprop: cuDNN's front end accumulates the query's gradient and sums in float32."""
    batch, heads, rows, columns = query.shape
    draft.outputs(3)
    draft.passing(batch * heads * rows * (columns + 1) * 4, workspace=True)


def _flash_attention(
    draft: Draft, query: Tensor, key: Tensor, _value: Tensor, dropout_p: float = 0.0, *_: Any, **__: Any
) -> None:
    """flash_api.cpp, mha_fwd: few queries are shared out by splitting the keys."""
    batch, heads, rows, columns = query.shape
    draft.outputs(2)
    splits = 1 if dropout_p else _flash_splits(batch * heads, rows, key.shape[2], columns, draft.device)
    lines = splits * batch * heads * rows if splits > 1 else 0
    parts = [draft.born(lines * 4), draft.born(lines * _head(columns) * 4)]
    draft.output(2)
    draft.output(3)
    draft.passing(16 if dropout_p else 0)
    draft.dies(*parts)


def _flash_attention_backward(
    draft: Draft, gradient: Tensor, query: Tensor, key: Tensor, _value: Tensor, out: Tensor, *_: Any, **__: Any
) -> None:
    """flash_api.cpp, mha_bwd: sums of the softmax, the query's gradient in float32, grouped keys expanded."""
    batch, heads, rows, columns = query.shape
    copies = [draft.born(copy_if(not t.transpose(1, 2).is_contiguous(), t)) for t in (gradient, out)]
    for index in range(3):
        draft.output(index)
    lines = batch * heads * padded(rows, _FLASH_ROWS)
    expanded = batch * heads * key.shape[2] * columns * key.element_size() if key.shape[1] != heads else 0
    draft.passing(lines * 4, lines * _head(columns) * 4, expanded, expanded)
    draft.dies(*reversed(copies))


def _head(columns: int) -> int:
    """Head dimension as flash attention rounds it."""
    return padded(columns, 32) if columns <= 192 else 256  # noqa: PLR2004


def _flash_splits(heads: int, rows: int, keys: int, columns: int, device: Device) -> int:
    """num_splits_heuristic: the fewest splits that keep 85 % of the best use of the multiprocessors."""
    slots = 2 * device.multiprocessors
    work = heads * divide_up(rows, 64)
    key_blocks = divide_up(keys, 256 if columns <= 64 else 128 if columns <= 128 else 64)  # noqa: PLR2004
    if work >= 0.8 * slots:
        return 1
    efficiency: dict[int, float] = {}
    for splits in range(1, min(128, slots, key_blocks) + 1):
        if splits == 1 or divide_up(key_blocks, splits) != divide_up(key_blocks, splits - 1):
            waves = work * splits / slots
            efficiency[splits] = waves / math.ceil(waves)
    best = max(efficiency.values(), default=0.0)
    return next((splits for splits, value in efficiency.items() if value >= 0.85 * best), 1)


RULES: dict[Any, Rule] = {
    aten._scaled_dot_product_efficient_attention.default: _efficient_attention,  # noqa: SLF001
    aten._scaled_dot_product_efficient_attention_backward.default: _efficient_attention_backward,  # noqa: SLF001
    aten._scaled_dot_product_flash_attention.default: _flash_attention,  # noqa: SLF001
    aten._scaled_dot_product_flash_attention_backward.default: _flash_attention_backward,  # noqa: SLF001
    aten._scaled_dot_product_cudnn_attention.default: _cudnn_attention,  # noqa: SLF001
    aten._scaled_dot_product_cudnn_attention_backward.default: _cudnn_attention_backward,  # noqa: SLF001
}
