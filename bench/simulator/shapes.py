"""Runs operators on tensors without data, each signature once in a process.

What an operator of torch's own returns on the meta device depends on nothing but the shapes, strides and types of its
arguments, and the default type. Alike layers, and simulations of alike networks, repeat the same signatures, and some
meta kernels are slow Python, so results are remembered as metadata and made anew. Operators that return views, or
change the metadata of an argument, always run.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
_MOST = 50_000
"""Signatures that are remembered, of some hundred bytes each; then all are forgotten."""


@dataclass(slots=True)
class _Operator:
    """What is known of an operator."""

    schema: Any
    on_lists: bool
    """Changes lists of tensors in place and returns nothing."""
    runs: bool
    """Is never remembered: it returns views, or somebody else wrote it."""
    recipes: dict[object, Recipe] = field(default_factory=dict)
    """By signature and default type."""


_operators: dict[Any, _Operator] = {}


def call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`func(*args, **kwargs)`, or a result that cannot be told from it."""
    known = _operators.get(func) or _learn(func)
    if known.on_lists and args[0][0].is_meta:
        return None  # nothing is born, and there is no data to change
    if known.runs:
        return run_bare(func, args, kwargs)
    try:
        signature = _signature(args)
        key = (signature, _signature((*kwargs, *kwargs.values())) if kwargs else (), torch.get_default_dtype())
        recipe = known.recipes.get(key)
    except (TypeError, _HasData):  # an argument that cannot be hashed, or a number that must be computed
        return run_bare(func, args, kwargs)
    if recipe is not None:
        return recipe(args, kwargs)
    result = lay_out(func, args, run_bare(func, args, kwargs))
    if _signature(args) == signature:
        if sum(len(one.recipes) for one in _operators.values()) >= _MOST:
            _operators.clear()
        known.recipes[key] = _find_recipe(known.schema, args, result) or _run(func)
    return result


def _learn(func: Any) -> _Operator:
    schema = schema_of(func)
    returns_view = any(one.alias_info is not None and not one.alias_info.is_write for one in schema.returns)
    _operators[func] = _Operator(
        schema,
        on_lists=schema.is_mutable and schema.name.startswith(_LISTS) and not schema.returns,
        runs=returns_view or not schema.name.startswith("aten::"),
    )
    return _operators[func]


class _HasData(Exception):  # noqa: N818 - no error
    """An argument is a real tensor."""


def _signature(values: Iterable[Any]) -> tuple[object, ...]:
    """What a result can depend on: of a tensor a tuple, of a list a tuple, of anything else its type and itself."""
    found: list[object] = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_meta:
                raise _HasData
            found.append((value.shape, value.stride(), value.dtype, value.storage_offset()))
        elif isinstance(value, (list, tuple)):
            found.append(_signature(value))
        else:  # 1, 1.0 and True are equal keys, but not the same argument
            found += (type(value), value)
    return tuple(found)


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
