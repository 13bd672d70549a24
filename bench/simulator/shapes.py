"""Runs operators on tensors without data, each signature once.

What an operator returns on the meta device depends on nothing but the shapes, strides and types of its arguments. Alike
layers repeat the same signatures, and some meta kernels are slow Python, so results are remembered as metadata and made
anew. Operators that return views, or change the metadata of an argument, always run.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter

from bench.simulator.autocast import run_bare
from bench.simulator.operators import lay_out
from bench.simulator.torch_private import schema_of, storage_key

Recipe = Callable[[Any, Any], Any]
"""From positional and named arguments to a result."""

_LISTS = ("aten::_foreach_", "aten::_fused_", "aten::_amp_foreach_")


class ShapeCache:
    """Calls operators; remembers what they return by signature."""

    def __init__(self) -> None:
        self._recipes: dict[object, Recipe] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`func(*args, **kwargs)`, or a result that cannot be told from it."""
        schema = schema_of(func)
        if schema.is_mutable and schema.name.startswith(_LISTS) and not schema.returns and args[0][0].is_meta:
            return None  # in place on lists: nothing is born, and there is no data to change
        try:
            key = (func, _signature(args), _signature(tuple(kwargs.items())))
            recipe = self._recipes.get(key)
        except (TypeError, _HasData):  # an argument that cannot be hashed, or a number that must be computed
            return run_bare(func, args, kwargs)
        if recipe is not None:
            return recipe(args, kwargs)
        result = lay_out(func, args, run_bare(func, args, kwargs))
        if _signature(args) == key[1]:
            self._recipes[key] = _find_recipe(schema, args, result) or _run(func)
        return result


class _HasData(Exception):  # noqa: N818 - no error
    """An argument is a real tensor."""


def _signature(value: Any) -> object:
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _HasData
        return (value.shape, value.stride(), value.dtype, value.device.type, value.storage_offset())
    if isinstance(value, (list, tuple)):
        return tuple(map(_signature, value))
    # 1, 1.0 and True are equal keys, but not the same argument.
    return (type(value), value)


def _run(func: Any) -> Recipe:
    return lambda args, kwargs: lay_out(func, args, run_bare(func, args, kwargs))


def _find_recipe(schema: Any, args: tuple[Any, ...], result: Any) -> Recipe | None:
    """How to make a result again; None where it must be computed."""
    if schema.is_mutable:
        return _return_first if args and result is args[0] else None
    results = [item for item in tree_iter(result) if isinstance(item, Tensor)]
    # Schemas do not name every view (`_unsafe_view`).
    owned = {storage_key(item) for item in tree_iter(args) if isinstance(item, Tensor)}
    if any(storage_key(item) in owned for item in results):
        return None
    if isinstance(result, Tensor):
        make = _find_maker(result)
        return None if make is None else lambda *_: make()
    if isinstance(result, (list, tuple)) and all(item is None or isinstance(item, Tensor) for item in result):
        makers = [_make_none if item is None else _find_maker(item) for item in result]
        kind = type(result)
        known = [make for make in makers if make is not None]
        return (lambda *_: kind(make() for make in known)) if len(known) == len(makers) else None
    return None


def _find_maker(tensor: Tensor) -> Callable[[], Tensor] | None:
    if tensor.device.type != "meta" or tensor.storage_offset() or type(tensor) is not Tensor:
        return None
    size, stride, dtype = tuple(tensor.shape), tensor.stride(), tensor.dtype
    if torch.empty_strided(size, stride, dtype=dtype, device="meta").untyped_storage().nbytes() != (
        tensor.untyped_storage().nbytes()
    ):
        return None
    return lambda: torch.empty_strided(size, stride, dtype=dtype, device="meta")


def _return_first(args: Any, _: Any) -> Any:
    return args[0]


def _make_none() -> None:
    return None
