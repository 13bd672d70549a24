"""Matrix products: copies of operands and cuBLAS's workspace (ATen/native/cuda/Blas.cpp, cuBlasCommonArgs.h)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Device, Draft, Rule, copy_if
from bench.simulator.operators.strides import is_dense

aten = torch.ops.aten


CUBLASLT_WORKSPACE_BYTES = 2**20
UNIFIED_WORKSPACE_SINCE = (2, 12)
"""torch version from which cuBLASLt works in the workspace of cuBLAS."""
TRANSIENT_WORKSPACES_SINCE = (2, 15)
"""torch version from which every product takes its workspace anew (pull request 194311)."""


def cublas_workspace_bytes(device: Device) -> int:
    """Workspace torch gives to cuBLAS: 8.125 MiB below compute capability 9.0, 32 MiB from there on."""
    return 33_554_432 if device.capability >= (9, 0) else 8_519_680


def _workspace(draft: Draft, *, lt: bool = False) -> None:
    """CublasHandlePool.cpp: of this product, or of the thread; cuBLASLt may have one beside that of its handle."""
    own, usual = CUBLASLT_WORKSPACE_BYTES, cublas_workspace_bytes(draft.device)
    version = draft.device.torch_version
    if version >= TRANSIENT_WORKSPACES_SINCE:
        draft.passing(own if lt else usual, workspace=True)
        return
    beside = own if lt and version < UNIFIED_WORKSPACE_SINCE else 0
    draft.passing(usual, beside, workspace=True, kept=True)


def _is_matrix_copied(matrix: Tensor) -> bool:
    """Whether cuBLAS cannot read a matrix where it is (prepare_matrix_for_cublas)."""
    rows, columns = matrix.shape
    row_stride, column_stride = matrix.stride()
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    return not (in_rows or in_columns or is_dense(matrix))


def _is_batch_copied(batch: Tensor) -> bool:
    """Whether cuBLAS cannot read a batch of matrices where it is (prepare_batch_matrix_for_cublas)."""
    rows, columns = batch.shape[1:]
    row_stride, column_stride = batch.stride()[1:]
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    return not (in_rows or in_columns or (batch.is_contiguous() and 0 not in batch.stride()[1:]))


def _multiply(draft: Draft, copies: Sequence[int], *, lt: bool = False) -> None:
    """Copies of the operands, the second before the first as cuBLAS works by columns, then the workspace."""
    copied = [draft.born(size) for size in reversed(copies)]
    _workspace(draft, lt=lt)
    draft.dies(*reversed(copied))


def _mm(draft: Draft, left: Tensor, right: Tensor) -> None:
    draft.output()
    if left.numel() and right.numel():
        copies = [copy_if(_is_matrix_copied(matrix), matrix) for matrix in (left, right)]
        _multiply(draft, copies)


def _bmm(draft: Draft, left: Tensor, right: Tensor) -> None:
    draft.output()
    if left.numel() and right.numel():
        copies = [copy_if(_is_batch_copied(batch), batch) for batch in (left, right)]
        _multiply(draft, copies)


def _baddbmm(draft: Draft, _bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> None:
    _bmm(draft, left, right)


def _addmm(draft: Draft, bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, **_: Any) -> None:
    """A bias vector is added by cuBLASLt where it can be (isInputCompliesAddmmCudaLt)."""
    inner, columns = right.shape
    vector = bias.is_contiguous() and bias.shape in ((columns,), (1, columns))
    if not (vector and beta == 1 and inner > 1 and columns > 1 and left.numel()):
        _mm(draft, left, right)
        return
    draft.output()
    copies = [copy_if(_is_matrix_copied(matrix), matrix) for matrix in (left, right)]
    _multiply(draft, copies, lt=True)


def _mv(draft: Draft, matrix: Tensor, vector: Tensor) -> None:
    """Blas.cpp, addmv_out_cuda: rows or columns must be dense, and the vector must not be expanded."""
    draft.output()
    rows, columns = matrix.shape
    row_stride, column_stride = matrix.stride()
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    copies = [copy_if(not (in_rows or in_columns), matrix), copy_if(vector.stride(0) == 0, vector)]
    _multiply(draft, copies[::-1])


def _addmv(draft: Draft, _bias: Tensor, matrix: Tensor, vector: Tensor, **_: Any) -> None:
    _mv(draft, matrix, vector)


def _dot(draft: Draft, *_: Tensor) -> None:
    draft.output()
    _workspace(draft)


RULES: dict[Any, Rule] = {
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.baddbmm.default: _baddbmm,
    aten.addmm.default: _addmm,
    aten._addmm_activation.default: _addmm,  # noqa: SLF001
    aten.mv.default: _mv,
    aten.addmv.default: _addmv,
    aten.dot.default: _dot,
}
