"""The one place that touches what torch does not promise; `tests/bench/simulator/test_torch_private.py` watches it.

Everything here exists from torch 2.10 on. When a new torch changes one of these, that test says which, and only this
file needs to follow.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils import _device, _foreach_utils, checkpoint
from torch.utils._python_dispatch import TorchDispatchMode


class EagerDispatchMode(TorchDispatchMode):
    """A dispatch mode that torch does not wrap against its compiler at every operator.

    The compiler leaves alone what runs under a dispatch mode, wrapped or not.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def storage_key(tensor: Tensor) -> int:
    """Identity of a tensor's storage while it lives; may be used again after its death."""
    return key_of(tensor.untyped_storage())


def key_of(storage: torch.UntypedStorage) -> int:
    """The same of the storage itself."""
    return storage._cdata  # noqa: SLF001


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


def current_node_name() -> str:
    """Name of the autograd node that is running, such as `AddmmBackward0`; empty outside a backward."""
    node: Any = torch._C._current_autograd_node()  # noqa: SLF001
    return "" if node is None else node.name()


def next_node_number() -> int:
    """Sequence number the next autograd node of this thread will have."""
    return torch.autograd._get_sequence_nr()  # noqa: SLF001 # pyright: ignore[reportPrivateImportUsage]


def schema_of(operator: Any) -> Any:
    """Schema of an operator overload: name, arguments, aliasing."""
    return operator._schema  # noqa: SLF001


def packet_of(operator: Any) -> Any:
    """The overload packet of an operator overload, such as `aten.mm` of `aten.mm.default`."""
    return operator._overloadpacket  # noqa: SLF001


def remember_device_constructors() -> None:
    """Let torch list the functions that a default device applies to, which it does once, before one is replaced."""
    _device._device_constructors()  # noqa: SLF001


@contextmanager
def implement(composite: dict[str, Callable[..., Any]], meta: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """While it lasts, operators have another implementation on tensors without data.

    Args:
        composite: what replaces operators made of others, by name without overload.
        meta: kernels of operators that have one for CUDA but not for the meta device, by the same names.
    """
    library = torch.library.Library("aten", "IMPL")
    for name, kernel in composite.items():
        library.impl(name, kernel, "AutogradMeta")
    for name, kernel in meta.items():
        # The public way refuses operators that other devices compose, as these two are.
        library.m.impl(name, "Meta", kernel)  # pyright: ignore[reportOptionalMemberAccess]
    try:
        yield
    finally:
        library._destroy()  # noqa: SLF001


def call_composite(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """An operator by its implementation for all devices, whatever `implement` says."""
    return operator._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)  # noqa: SLF001


@contextmanager
def choose_as_cuda() -> Iterator[None]:
    """Let optimizers, gradient clipping and recomputation treat tensors without data as CUDA's.

    They choose foreach and fused implementations, and recompute under the autocast of the forward.
    """
    with ExitStack() as stack:
        for module in [module for name, module in sys.modules.items() if name.startswith("torch.optim.")]:
            if hasattr(module, "_get_value"):
                stack.enter_context(patch.object(module, "_get_value", _get_value))
            name = "_get_capturable_supported_devices"
            if hasattr(module, name):
                stack.enter_context(patch.object(module, name, _with_meta(getattr(module, name))))
        stack.enter_context(patch.object(checkpoint, "_infer_device_type", _infer_device_type))
        for module in (sys.modules[Optimizer.__module__], _foreach_utils):
            for name in ("_get_foreach_kernels_supported_devices", "_get_fused_kernels_supported_devices"):
                stack.enter_context(patch.object(module, name, _with_meta(getattr(module, name))))
        yield


_COMPILER = "torch._dynamo"


class _NoCompiler(ModuleType):
    """In the place of torch's compiler: says yes to what optimizers and recomputation tell it."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        self.left_alone: list[Any] = []
        """Functions that were not to be compiled; torch keeps the answer as their attribute."""

    def disable(self, function: Any, *_: Any, **__: Any) -> Any:
        self.left_alone.append(function)
        return function

    def graph_break(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        """Anything else is for the compiler itself, but for what Python asks of every module."""
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_COMPILER), name)

    def leave(self) -> None:
        """Make room for the compiler, if it is not there by now."""
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        if vars(torch).get("_dynamo") is self:
            del torch._dynamo  # noqa: SLF001
        while self.left_alone:
            vars(self.left_alone.pop()).pop("__dynamo_disable", None)


@contextmanager
def without_compiler() -> Iterator[None]:
    """While it lasts, optimizers and recomputation do not import torch's compiler, which takes as long as torch itself.

    They would only tell it what not to compile. Whatever really asks for it gets it.
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = _NoCompiler()
    sys.modules[_COMPILER] = stand_in
    torch._dynamo = stand_in  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        stand_in.leave()


def _with_meta(list_devices: Callable[..., list[str]]) -> Callable[..., list[str]]:
    return lambda *args, **kwargs: [*list_devices(*args, **kwargs), "meta"]


_plain_get_value = sys.modules[Optimizer.__module__]._get_value  # noqa: SLF001


def _get_value(value: Any) -> Any:
    """Counters of steps are read for factors alone, which decide nothing about memory: any will do."""
    return 1.0 if isinstance(value, Tensor) and value.is_meta else _plain_get_value(value)


_plain_infer_device_type = checkpoint._infer_device_type  # noqa: SLF001


def _infer_device_type(*args: Any) -> str:
    """Recomputation restores the autocast of this device."""
    found = _plain_infer_device_type(*args)
    return "cuda" if found == "meta" else found
