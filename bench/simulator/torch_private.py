"""The one place that touches what torch does not promise; `tests/bench/simulator/test_torch_private.py` watches it.

Everything here exists from torch 2.10 on. When a new torch changes one of these, that test says which, and only this
file needs to follow.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils import _foreach_utils


def storage_key(tensor: Tensor) -> int:
    """Identity of a tensor's storage while it lives; may be used again after its death."""
    return tensor.untyped_storage()._cdata  # noqa: SLF001


def is_view(tensor: Tensor) -> bool:
    """Whether autograd knows a tensor as a view of another."""
    return tensor._is_view()  # noqa: SLF001


def in_backward() -> bool:
    """Whether the autograd engine is running a backward in this thread."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001


def current_node_number() -> int | None:
    """Sequence number of the autograd node that is running; None outside a backward and for gradient accumulation.

    Nodes are numbered as the forward creates them, so a number leads back to the forward it belongs to.
    """
    node: Any = torch._C._current_autograd_node()  # noqa: SLF001
    if node is None:
        return None
    number = node._sequence_nr()  # noqa: SLF001
    return number if number < 2**63 else None


def next_node_number() -> int:
    """Sequence number the next autograd node of this thread will have."""
    return torch.autograd._get_sequence_nr()  # noqa: SLF001 # pyright: ignore[reportPrivateImportUsage]


def schema_of(operator: Any) -> Any:
    """Schema of an operator overload: name, arguments, aliasing."""
    return operator._schema  # noqa: SLF001


def packet_of(operator: Any) -> Any:
    """The overload packet of an operator overload, such as `aten.mm` of `aten.mm.default`."""
    return operator._overloadpacket  # noqa: SLF001


@contextmanager
def choose_as_cuda() -> Iterator[None]:
    """Let optimizers and gradient clipping treat tensors without data as CUDA's: foreach and fused where CUDA would."""
    with ExitStack() as stack:
        for module in (sys.modules[Optimizer.__module__], _foreach_utils):
            for name in ("_get_foreach_kernels_supported_devices", "_get_fused_kernels_supported_devices"):
                stack.enter_context(patch.object(module, name, _with_meta(getattr(module, name))))
        yield


def _with_meta(list_devices: Callable[[], list[str]]) -> Callable[[], list[str]]:
    devices = [*list_devices(), "meta"]
    return lambda: list(devices)
