"""Gradients of embeddings and of indexing, which sort their indices."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, copy_if, divide_up, padded
from bench.simulator.operators.sorting import scan_bytes, sort_bytes, unique_bytes
from bench.simulator.operators.staging import WARP

aten = torch.ops.aten


_FEW_INDICES = 3072
_ROWS_PER_THREAD = 10


def _embedding_backward(
    draft: Draft,
    gradient: Tensor,
    indices: Tensor,
    num_weights: int,
    _padding: int = -1,
    scale_grad_by_freq: bool = False,
) -> None:
    """Embedding.cu and EmbeddingBackwardKernel.cu: few indices are added one by one; many are sorted into segments."""
    count, width = indices.numel(), indices.element_size()
    if count <= _FEW_INDICES and not scale_grad_by_freq:
        copies = [draft.born(copy_if(not tensor.is_contiguous(), tensor)) for tensor in (indices, gradient)]
        draft.output()
        draft.dies(*reversed(copies))
        return
    gradient_copy = draft.born(copy_if(not gradient.is_contiguous(), gradient))
    size = count * width
    kept = [draft.born(size) for _ in range(2)]
    numbers = draft.born(size)
    draft.passing(sort_bytes(count, width, num_weights, draft.device))
    draft.dies(numbers)
    if scale_grad_by_freq:
        kept.append(draft.born(size))
        for _ in range(2):
            draft.passing(scan_bytes(1, 8))
    draft.output()
    segments = [draft.born(size), draft.born(8)]
    numbers = draft.born(size)
    draft.passing(unique_bytes(count, width, draft.device))
    draft.dies(numbers)
    most = min(count, num_weights)
    parts = [draft.born(most * width) for _ in range(2)]
    draft.passing(scan_bytes(most, width))
    total = draft.born(8)
    partial = count // _ROWS_PER_THREAD + most
    columns = gradient.shape[-1]
    wide = max(gradient.element_size(), 4)
    # A block of threads takes one segment, or 1024 columns of it.
    blocks = divide_up(most * padded(columns, WARP), min(padded(columns, WARP), 1024))
    if blocks < 4 * draft.device.multiprocessors and partial > 4 * blocks:
        # Few long segments are added up atomically.
        accumulated = num_weights * columns * wide if gradient.element_size() < wide else 0
        draft.passing(partial * width, partial * width, accumulated)
    else:
        draft.passing(partial * width, partial * columns * wide)
    draft.dies(total, *reversed(parts), *reversed(segments), *reversed(kept), gradient_copy)


def _index_put(
    draft: Draft, source: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False, *_: Any
) -> None:
    """Indexing.cu, index_put_with_sort_kernel: positions are computed and sorted, so that sums are deterministic."""
    given = [index for index in indices if index is not None]
    if not accumulate or any(index.dtype in (torch.bool, torch.uint8) for index in given):
        return
    count = math.prod(torch.broadcast_shapes(*(index.shape for index in given)))
    size = count * 8
    linear = draft.born(size)
    draft.passing(size)
    for _index in given[1:]:
        position, wrapped = draft.born(size), draft.born(size)
        draft.dies(position, wrapped)
    indexed = [dim for dim, index in enumerate(indices) if index is not None]
    together = indexed[-1] - indexed[0] + 1 == len(indexed)
    # Indexed dimensions that are apart are moved to the front.
    moved = draft.born(copy_if(not together, source))
    wanted = count * math.prod(extent for dim, extent in enumerate(source.shape) if dim not in indexed)
    expanded = values.numel() != wanted
    value_copy = draft.born(wanted * values.element_size() if expanded else copy_if(not values.is_contiguous(), values))
    kept = [draft.born(size) for _ in range(3)]
    extents = source.shape[: indexed[-1] + 1] if together else (source.shape[dim] for dim in indexed)
    draft.passing(sort_bytes(count, 8, math.prod(extents), draft.device))
    draft.dies(*reversed(kept), value_copy, moved, linear)


_SMALL_SORT = 4096


def _sort(draft: Draft, source: Tensor, dim: int = -1, *_: Any, **__: Any) -> None:
    """Sort.cpp: short slices are sorted where they are, after their places are numbered."""
    draft.outputs(2)
    length = source.shape[dim] if source.dim() else 1
    if length <= _SMALL_SORT and source.numel():
        draft.passing(length * 8)


def _sort_stable(draft: Draft, source: Tensor, *_: Any, dim: int = -1, **__: Any) -> None:
    _sort(draft, source, dim)


RULES: dict[Any, Rule] = {
    aten.sort.default: _sort,
    aten.sort.stable: _sort_stable,
    aten.embedding_dense_backward.default: _embedding_backward,
    aten._index_put_impl_.default: _index_put,
}
