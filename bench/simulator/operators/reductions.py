"""Sums, maxima, variances and norms."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, dense_bytes
from bench.simulator.operators.staging import converted_source, reduce, source_of

aten = torch.ops.aten


def _sum(draft: Draft, source: Tensor, dim: Any = None, *_: Any, dtype: torch.dtype | None = None) -> None:
    """ReduceSumProdKernel.cu; integers and booleans are converted to int64 first (make_reduction)."""
    draft.output()
    floating = source.dtype.is_floating_point
    kind = dtype or (source.dtype if floating else torch.int64)
    if kind == source.dtype or (source.element_size() == 2 and kind == torch.float32):  # noqa: PLR2004
        reduce(draft, source_of(source), dim)
        return
    converted = draft.born(source.numel() * kind.itemsize)
    reduce(draft, converted_source(source, kind.itemsize), dim)
    draft.dies(converted)


def _reduce_same(draft: Draft, source: Tensor, dim: Any = None, *_: Any, **__: Any) -> None:
    """Maximum and minimum accumulate in the input's type; any and all in a boolean."""
    draft.output()
    reduce(draft, source_of(source), dim, accumulator=source.element_size())


def _any(draft: Draft, source: Tensor, dim: Any = None, *_: Any) -> None:
    draft.output()
    reduce(draft, source_of(source), dim, accumulator=1)


def _max_dim(draft: Draft, source: Tensor, dim: int, *_: Any) -> None:
    """TensorCompare.cu: a value and its index per thread, 16 bytes."""
    draft.outputs(2)
    reduce(draft, source_of(source), dim, accumulator=16)


def _argmax(draft: Draft, source: Tensor, dim: int | None = None, *_: Any) -> None:
    draft.output()
    reduce(draft, source_of(source), dim, accumulator=16)


def _variance(outputs: int) -> Rule:
    def rule(draft: Draft, source: Tensor, dim: Any = None, **_: Any) -> None:
        """ReduceMomentKernel.cu: mean, second moment and two counts per thread."""
        draft.outputs(outputs)
        reduce(draft, source_of(source), dim, accumulator=32 if source.element_size() == 8 else 16, values=2)  # noqa: PLR2004

    return rule


def _vector_norm(draft: Draft, source: Tensor, _order: Any = 2, dim: Any = None, *_: Any, **__: Any) -> None:
    """ReduceNormKernel.cu."""
    draft.output()
    reduce(draft, source_of(source), dim)


def _logsumexp(draft: Draft, source: Tensor, dim: Sequence[int], *_: Any) -> None:
    """ReduceOps.cpp, logsumexp_out_impl: maxima; where they are infinite; exponentials; the result last."""
    rank, width = source.dim(), source.element_size()
    reduced = {index % rank for index in dim} or set(range(rank))
    outputs = math.prod(extent for index, extent in enumerate(source.shape) if index not in reduced)
    maxima = draft.born(outputs * width)
    reduce(draft, source_of(source), dim, accumulator=width)
    draft.passing(outputs * width, outputs)
    exponentials = draft.born(dense_bytes(source))
    draft.output()
    reduce(draft, converted_source(source, width), dim)
    draft.dies(exponentials, maxima)


RULES: dict[Any, Rule] = {
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _sum,
    aten.mean.dim: _sum,
    aten.prod.default: _sum,
    aten.max.default: _reduce_same,
    aten.min.default: _reduce_same,
    aten.amax.default: _reduce_same,
    aten.amin.default: _reduce_same,
    aten.any.default: _any,
    aten.any.dim: _any,
    aten.all.default: _any,
    aten.all.dim: _any,
    aten.max.dim: _max_dim,
    aten.min.dim: _max_dim,
    aten.argmax.default: _argmax,
    aten.argmin.default: _argmax,
    aten.var.correction: _variance(1),
    aten.std.correction: _variance(1),
    aten.var_mean.correction: _variance(2),
    aten.std_mean.correction: _variance(2),
    aten.linalg_vector_norm.default: _vector_norm,
    aten.norm.Scalar: _vector_norm,
    aten.norm.ScalarOpt_dim: _vector_norm,
    aten.logsumexp.default: _logsumexp,
}
