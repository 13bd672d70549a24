"""Follows every storage of a training from birth to death, on tensors without data.

The real code runs on the meta device. A dispatch mode sees each operator, names the storages it creates, adds what the
operator would allocate for itself on CUDA, and learns from a weak reference when the last tensor on a storage is gone.
Out comes a stream of events in the order CUDA's allocator would see them; what they mean for memory is `ledger.py`'s.

Sees: every tensor on the meta device, from the first parameter on, and the temporaries that `operators` knows.
Does not see: memory outside operators (CUDA context, kernels, other streams).
"""

import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_iter

from bench.simulator import shapes
from bench.simulator.operators import Born, Device, Dies, Plan, plan_call
from bench.simulator.recording import watch_training
from bench.simulator.refusals import explain
from bench.simulator.stream import OUTSIDE, Category, Event, Place, Stream
from bench.simulator.torch_private import (
    EagerDispatchMode,
    current_node_name,
    current_node_number,
    in_backward,
    is_view,
    key_of,
    next_node_number,
    storage_key,
)

_aten = torch.ops.aten
_INDEX_PUT = _aten.index_put.default
_INDEX_PUT_IN_PLACE = _aten._index_put_impl_.default
_is_dense = _aten.is_non_overlapping_and_dense.default
_VALUE_SELECTORS = frozenset(
    f"{name}Backward{number}"
    for name in ("Max", "Min", "Topk", "Sort", "Kthvalue", "Median", "Nanmedian", "Mode", "Cummax", "Cummin")
    for number in (0, 1)
)
_IN_PLACE: dict[Any, frozenset[str] | None] = {
    _aten.add.Tensor: None,
    _aten.sub.Tensor: frozenset(("BinaryCrossEntropyWithLogitsBackward0",)),
    _aten.mul.Tensor: frozenset(("BinaryCrossEntropyWithLogitsBackward0",)),
    _aten.index_add.default: frozenset(("IndexSelectBackward0",)),
    _aten.scatter_add.default: frozenset(("GatherBackward0", "CummaxBackward0", "CumminBackward0")),
    _aten.scatter.src: _VALUE_SELECTORS,
    _aten.masked_fill.Scalar: frozenset(("StdBackward0", "StdMeanBackward0", "NormBackward0", "NormBackward1")),
}
"""What a backward does in place when nothing watches (`areAnyTensorSubclassLike`), by node; None for every node."""


Workspaces = frozenset[tuple[bool, int]]
"""Workspaces that a thread keeps: whether it is the one of backwards, and bytes."""


class StorageTracker(EagerDispatchMode):
    """Dispatch mode that writes `stream`; say by `at` what is under way."""

    def __init__(self, device: Device | None = None, *, follow: str = "meta") -> None:
        """Start an empty stream.

        Args:
            device: the CUDA device that is modelled; None adds no operator's own memory.
            follow: type of the device whose storages are followed; `meta` simulates, others check the tracker.
        """
        super().__init__()
        self.stream = Stream()
        self.follow = follow
        self.device = device
        self._place = Place(OUTSIDE)
        self._operator = ""
        self._count = 0
        self._numbers: dict[int, int] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._sum_of: int | None = None
        """First operand of what was born last, if that could have been done in place."""
        self._forward_numbers: list[int] = []
        """First autograd node number of every forward, ascending."""
        self._forwards: list[Place] = []
        """Their places."""
        self._backwards: dict[tuple[Place, Place], Place] = {}
        self._kept: set[tuple[bool, int]] = set()
        """Workspaces that a thread keeps: whether it is the one of backwards, and bytes."""
        self._used: set[tuple[bool, int]] = set()

    @property
    def workspaces(self) -> Workspaces:
        """Those that threads used so far, and keep."""
        return frozenset(self._used)

    def keep(self, workspaces: Workspaces) -> None:
        """Let threads have workspaces from now on."""
        for key in sorted(workspaces - self._kept):
            self._kept.add(key)
            self.stream.categories[self._emit_birth(key[1])] = "workspace"

    def start_step(self) -> None:
        """Note that a training step begins."""
        self.stream.steps.append(len(self.stream.events))

    def end_steps(self) -> None:
        """Note that the last step is over; what dies from now on belongs to none."""
        self.stream.end = len(self.stream.events)

    def categorise(self, tensors: Iterable[Tensor], category: Category) -> None:
        """Say what the storages of tensors are."""
        for tensor in tensors:
            number = self._numbers.get(storage_key(tensor))
            if number is not None:
                self.stream.categories[number] = category

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Everything inside happens at `place`."""
        outer, self._place = self._place, place
        forward = place.phase != "backward"
        if forward:
            self._note_forward(place)
        try:
            yield
        finally:
            self._place = outer
            if forward:
                self._note_forward(outer)

    def _note_forward(self, place: Place) -> None:
        """What the next autograd nodes belong to."""
        self._forward_numbers.append(next_node_number())
        self._forwards.append(place)

    def see(self, tensor: Tensor, operand: int | None = None, size: int | None = None) -> None:
        """Note the storage of a tensor as born, unless it is known, empty, or on another device."""
        if not (tensor.is_meta if self.follow == "meta" else tensor.device.type == self.follow):
            return
        storage = tensor.untyped_storage()
        key = key_of(storage)
        if key in self._numbers:
            return
        size = size or storage.nbytes()
        if size == 0:
            return
        self._sum_of = operand
        self._numbers[key] = self._emit_birth(size)
        self._references[key] = weakref.ref(storage, lambda _: self._forget(key, size))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _INDEX_PUT and in_backward() and len(args) > 3 and args[3]:  # noqa: PLR2004 - accumulate
            # The gradient of indexing is written in place into zeros when nothing watches.
            func, args = _INDEX_PUT_IN_PLACE, (*args[:4], True)
        self._operator = _name(func)
        try:
            result = shapes.call(func, args, kwargs) if self.follow == "meta" else func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if self.follow != "meta":
                raise
            raise explain(func, self.here(), error) from error
        plan = plan_call(func, args, kwargs, self.device) if self.device else None
        outputs = [result] if isinstance(result, Tensor) else [t for t in tree_iter(result) if isinstance(t, Tensor)]
        if plan is not None:
            self._carry_out(plan, outputs)
        else:
            operand = self._overwritten(func, args[0]) if func in _IN_PLACE else None
            for tensor in outputs:
                self.see(tensor, operand)
        self._operator = ""
        return result

    def _carry_out(self, plan: Plan, outputs: list[Tensor]) -> None:
        temporaries: list[tuple[int, int] | None] = []
        for item in plan:
            if isinstance(item, Born):
                if item.kept:
                    temporaries.append(None)
                    self._keep(item.bytes)
                    continue
                number = self._emit_birth(item.bytes)
                self.stream.categories[number] = "workspace" if item.workspace else "temporary"
                temporaries.append((number, item.bytes))
            elif isinstance(item, Dies):
                temporary = temporaries[item.index]
                if temporary is not None:
                    self.stream.events.append(Event("free", *temporary, self.here(), self._operator))
            else:
                self.see(outputs[item.index], size=item.bytes)

    def _keep(self, size: int) -> None:
        """A workspace that the running thread keeps from its first use on."""
        key = (in_backward(), size)
        self._used.add(key)
        self.keep(frozenset([key]))

    def _overwritten(self, func: Any, first: object) -> int | None:
        """First operand of an operator that runs inside a backward, where it could be done in place."""
        # A view that a backward made holds its base, so that the engine does not own the storage.
        if not (isinstance(first, Tensor) and in_backward() and _is_dense(first) and not is_view(first)):
            return None
        nodes = _IN_PLACE[func]
        if nodes is not None and current_node_name() not in nodes:
            return None
        return self._numbers.get(storage_key(first))

    def _emit_birth(self, size: int) -> int:
        number = self._count
        self._count += 1
        self.stream.events.append(Event("alloc", number, size, self.here(), self._operator))
        return number

    def _forget(self, key: int, size: int) -> None:
        number = self._numbers.pop(key)
        del self._references[key]
        if self._sum_of == number and self.stream.events[-1].action == "alloc":
            # The engine adds gradients in place when nothing watches; under a dispatch mode it makes a new tensor.
            self.stream.events.pop()
            newest = next(reversed(self._numbers))
            self._numbers[newest] = number
            return
        self.stream.events.append(Event("free", number, size, self.here(), self._operator))

    def here(self) -> Place:
        """The place under way; inside a backward, the backward of the forward that made the running node."""
        # A forward inside a backward (recomputation) announces itself; only what nothing else claims is backward.
        if self._place.phase not in ("backward", OUTSIDE) or not in_backward():
            return self._place
        number = current_node_number()
        if number is None:
            engine = Place("backward", self._place.module, within=self._place)
            return self._backwards.setdefault((self._place, self._place), engine)
        index = bisect_right(self._forward_numbers, number) - 1
        forward = self._forwards[index] if index >= 0 else self._place
        key = (self._place, forward)
        if key not in self._backwards:
            of = None if forward.phase in ("unit", OUTSIDE) else forward.phase
            self._backwards[key] = Place("backward", self._place.module, forward.unit, of, self._place)
        return self._backwards[key]


@cache
def _name(func: Any) -> str:
    return str(func)


@contextmanager
def name_places(
    tracker: StorageTracker, modules: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]
) -> Iterator[None]:
    """While it lasts, forwards of submodules and optimizer steps announce themselves as places."""
    names = {id(member): name or type(member).__name__ for root in modules for name, member in root.named_modules()}
    open_places: list[AbstractContextManager[None]] = []

    def enter(place: Place) -> None:
        scope = tracker.at(place)
        scope.__enter__()
        open_places.append(scope)

    def leave() -> None:
        open_places.pop().__exit__(None, None, None)

    def before_forward(module: nn.Module, _: Any) -> None:
        enter(Place("unit", unit=names.get(id(module), type(module).__name__)))

    def after_forward(*_: Any) -> None:
        leave()

    def before_optimizer(*_: Any) -> None:
        watch_training(tracker, modules, ())
        enter(Place("optimizer"))

    handles = [
        register_module_forward_pre_hook(before_forward),
        register_module_forward_hook(after_forward, always_call=True),
    ]
    for optimizer in optimizers:
        handles.append(optimizer.register_step_pre_hook(before_optimizer))
        handles.append(optimizer.register_step_post_hook(after_forward))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
