"""Follows every storage of a step from birth to death, on tensors without data.

The step's real code runs on the meta device. A dispatch mode sees each operator, names the storages it creates, and
learns from a weak reference when the last tensor on a storage is gone. What comes out is a stream of events; what they
mean for memory is for the reader of the stream (`ledger.py`).

Sees: every tensor on the meta device, forward, backward and optimizer, in the order of eager execution.
Does not see: memory that operators take for themselves (convolution and matrix-product workspaces).
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bench.simulator.ledger import Event
from bench.simulator.shapes import ShapeCache

_ADD = torch.ops.aten.add.Tensor
_OUTPUT_BYTES = {
    # The CUDA kernel writes one loss per element and shrinks that tensor, not its storage, to the mean.
    torch.ops.aten.binary_cross_entropy.default: lambda args: args[0].numel() * args[0].element_size(),
}
"""Operators whose output owns more bytes on CUDA than its shape says: bytes from their arguments."""


def _call(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


class StorageTracker(TorchDispatchMode):
    """Dispatch mode that writes `events`; set `phase` to say what is under way."""

    def __init__(self, device_type: str = "meta") -> None:
        """Start an empty stream.

        Args:
            device_type: device whose storages are followed; `meta` is what simulates, others check it.
        """
        super().__init__()
        self.device_type = device_type
        self.events: list[Event] = []
        self.phase = "build"
        self._numbers: dict[int, int] = {}
        self._count = 0
        self._sum_of: int | None = None
        """First operand of the gradient sum that was born last."""
        self._shapes = ShapeCache()
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def watch(self, module: nn.Module) -> None:
        """Count a module's parameters and buffers as born now."""
        for tensor in (*module.parameters(), *module.buffers()):
            self.see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = self._shapes.call if self.device_type == "meta" else _call
        result = call(func, args, kwargs or {})
        operand = self._accumulated(args[0]) if func is _ADD else None
        size = _OUTPUT_BYTES[func](args) if func in _OUTPUT_BYTES else None
        for tensor in (result,) if isinstance(result, Tensor) else tree_iter(result):
            if isinstance(tensor, Tensor):
                self.see(tensor, operand, size)
        return result

    def _accumulated(self, first: object) -> int | None:
        """First operand of an addition that runs inside a backward."""
        if isinstance(first, Tensor) and torch._C._current_graph_task_id() != -1:  # noqa: SLF001 - no public way
            return self._numbers.get(first.untyped_storage()._cdata)  # noqa: SLF001 - identity of the storage
        return None

    def see(self, tensor: Tensor, operand: int | None = None, size: int | None = None) -> None:
        """Note the storage of a tensor as born, unless it is known, empty, or on another device."""
        if tensor.device.type != self.device_type:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata  # noqa: SLF001 - the one identity a storage has
        if key in self._numbers:
            return
        born = Event("alloc", self._count, size or storage.nbytes(), self.phase)
        if born.bytes == 0:
            return
        self._count += 1
        self.events.append(born)
        self._sum_of = operand
        self._numbers[key] = born.storage
        self._references[key] = weakref.ref(storage, lambda _: self._forget(key, born.bytes))

    def _forget(self, key: int, size: int) -> None:
        number = self._numbers.pop(key)
        del self._references[key]
        if self._sum_of == number and self.events[-1].action == "alloc":
            # The engine adds gradients in place when nothing watches; under a dispatch mode it makes a new tensor.
            self.events.pop()
            newest = next(reversed(self._numbers))
            self._numbers[newest] = number
            return
        self.events.append(Event("free", number, size, self.phase))
