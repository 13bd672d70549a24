"""Operators over lists of tensors (ATen/native/cuda/ForeachReduceOp.cu)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.simulator.operators.plans import Draft, Rule, divide_up
from bench.simulator.operators.staging import reduce, source_of

aten = torch.ops.aten


_CHUNK = 65536
"""Elements one block takes of a tensor."""
_PACKED_SINCE = (2, 15)
"""torch version from which tensors with fewer chunks than the longest one take less."""


def _foreach_norm(draft: Draft, tensors: Sequence[Tensor], *_: Any) -> None:
    """Start of every tensor's chunks, one value per chunk, then the norms; one by one where types differ."""
    if len({tensor.dtype for tensor in tensors}) > 1:
        for index, tensor in enumerate(tensors):
            draft.output(index)
            reduce(draft, source_of(tensor))
        return
    chunks = [divide_up(tensor.numel(), _CHUNK) for tensor in tensors]
    packed = draft.device.torch_version >= _PACKED_SINCE
    starts = draft.born(8 * (len(tensors) + 1) if packed else 0)
    values = draft.born((sum(chunks) if packed else len(chunks) * max(chunks)) * max(tensors[0].element_size(), 4))
    draft.outputs(len(tensors))
    draft.dies(values, starts)


RULES: dict[Any, Rule] = {
    aten._foreach_norm.Scalar: _foreach_norm,  # noqa: SLF001
}
