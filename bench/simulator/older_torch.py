"""What torches before 2.15 need beside the rules to be simulated.

Source: `torch/csrc/autograd/python_variable_indexing.cpp`, `torch/csrc/utils/tensor_new.cpp` of those versions.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from bench.simulator.autocast import cast_argument
from bench.simulator.model import running_version
from bench.simulator.torch_private import remember_device_constructors

aten = torch.ops.aten
Kernels = dict[str, Callable[..., Tensor]]
_KERNELS_RAISE_SINCE = (2, 12)
"""torch version from which an exception, such as the one that ends a recomputation, leaves a kernel unharmed."""
_NUMBERS_ANNOUNCED_SINCE = (2, 15)
"""torch version from which making a tensor of a number is an operator."""


@contextmanager
def as_in_older_torch(composite: Kernels) -> Iterator[None]:
    """While it lasts, what the running torch hides from the simulation can be seen; nothing from 2.15 on.

    Args:
        composite: by name, what replaces composite operators; emptied where functions are replaced instead.
    """
    with ExitStack() as stack:
        if running_version() < _KERNELS_RAISE_SINCE:
            for name, function in _functions(dict(composite)).items():
                stack.enter_context(patch.object(functional, name, function))
            composite.clear()
        if running_version() < _NUMBERS_ANNOUNCED_SINCE:
            remember_device_constructors()
            for name in ("tensor", "as_tensor"):
                stack.enter_context(patch.object(torch, name, _announced(getattr(torch, name))))
            stack.enter_context(patch.object(Tensor, "__setitem__", _set_item))
        yield


def _announced(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes a tensor of numbers, which older torches do without any operator on the meta device."""

    def call(*args: Any, **kwargs: Any) -> Tensor:
        tensor = make(*args, **kwargs)
        return aten.lift_fresh(tensor) if tensor.is_meta else tensor

    return call


def _set_item(tensor: Tensor, index: Any, value: Any) -> None:
    """Older torches copy a number from the host to a slice of a CUDA tensor (python_variable_indexing.cpp)."""
    if tensor.is_meta and isinstance(value, (bool, int, float)):
        value = torch.scalar_tensor(value, dtype=tensor.dtype, device="cpu")
    _plain_set_item(tensor, index, value)


_plain_set_item = Tensor.__setitem__


def _functions(kernels: Kernels) -> Kernels:
    """The same as functions of `torch.nn.functional`, which stand above autocast."""

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
        ours = input.is_meta and not inplace
        return kernels["dropout"](input, p, training) if ours else _PLAIN["dropout"](input, p, training, inplace)

    cast = {
        "linear": _cast_first(kernels["linear"], "linear", _narrow),
        "rms_norm": _cast_first(kernels["rms_norm"], "rms_norm", lambda: torch.float32),
        "scaled_dot_product_attention": _cast_first(
            kernels["scaled_dot_product_attention"], "scaled_dot_product_attention", _narrow
        ),
    }
    return {"dropout": dropout, **cast}


_PLAIN = {name: getattr(functional, name) for name in ("dropout", "linear", "rms_norm", "scaled_dot_product_attention")}


def _narrow() -> torch.dtype:
    return torch.get_autocast_dtype("cuda")


def _cast_first(kernel: Callable[..., Tensor], name: str, kind: Callable[[], torch.dtype]) -> Callable[..., Tensor]:
    """A kernel whose arguments are cast first, the last one before the others, where there is autocast."""

    def call(*args: Any, **options: Any) -> Tensor:
        if not args[0].is_meta:
            return _PLAIN[name](*args, **options)
        if torch.is_autocast_enabled("cuda"):
            options = {key: _cast_if_tensor(value, kind()) for key, value in options.items()}
            args = (*reversed([_cast_if_tensor(value, kind()) for value in reversed(args)]),)
        return kernel(*args, **options)

    return call


def _cast_if_tensor(value: Any, kind: torch.dtype) -> Any:
    return cast_argument(value, kind) if isinstance(value, Tensor) else value
