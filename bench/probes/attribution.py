"""Says what holds the peak on a CUDA device, from the allocator's own history.

The history tells births and deaths of blocks, in order. Where the step is, and which addresses are parameters,
gradients or optimizer state, is noted meanwhile together with the number of events so far. Both make the stream of
events that the simulator makes without a device, so that categories and sums are the simulator's own.

Sees: everything that goes through the caching allocator, libraries' workspaces included.
Does not see: whose a block is that a library keeps; what is large, outlives a step and is nobody's is called
`workspace`. What a library borrows and gives back at once counts as `temporary`; simulations tell it apart.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from bench.simulator.stream import OUTSIDE, Category, Event, Place, Stream

MOST_EVENTS = 1_000_000
"""Longest history that is kept, some 200 MB of the host's memory."""
SMALLEST_KEPT_BYTES = 2**20
"""Of a workspace that a library keeps; smaller things that are kept are temporary, as in simulations."""
_BIRTH, _DEATH = "alloc", "free_completed"


class AttributionError(RuntimeError):
    """A history that does not tell everything."""


class AllocatorHistory:
    """Records the allocator while it is entered; notes where and what by the same calls as the simulator's tracker."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._here = Place(OUTSIDE)
        self._places: list[tuple[int, Place]] = []
        self._categories: list[tuple[int, dict[int, Category]]] = []
        self._steps: list[int] = []
        self._end = 0
        self._start = 0

    def __enter__(self) -> Self:
        if torch.cuda.memory_allocated(self._device):
            held = torch.cuda.memory_allocated(self._device)
            raise AttributionError(f"the history would not begin with an empty allocator ({held} bytes are held)")
        torch.cuda.memory._record_memory_history(context=None, max_entries=MOST_EVENTS, clear_history=True)  # noqa: SLF001 - torch has no other way
        self._start = self._count()
        self._places.append((0, self._here))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Everything inside happens at `place`."""
        outer = self._here
        self._move_to(place)
        try:
            yield
        finally:
            self._move_to(outer)

    def categorise(self, tensors: Iterable[Tensor], category: Category) -> None:
        """Say what the storages of tensors are."""
        addresses: dict[int, Category] = {
            tensor.untyped_storage().data_ptr(): category for tensor in tensors if tensor.is_cuda
        }
        self._categories.append((self._position(), addresses))

    def start_step(self) -> None:
        """Note that a training step begins."""
        self._steps.append(self._position())

    def end_steps(self) -> None:
        """Note that the last step is over."""
        self._end = self._position()

    def stream(self) -> Stream:
        """The history as the simulator's stream of events; call it before leaving.

        Raises:
            AttributionError: the history lacks events.
        """
        torch.cuda.synchronize(self._device)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        snapshot: Any = torch.cuda.memory._snapshot(self._device)  # noqa: SLF001
        happened = [each for each in snapshot["device_traces"][index] if each["action"] in (_BIRTH, _DEATH)]
        if len(happened) != self._position():
            raise AttributionError(f"the history has {len(happened)} events, the allocator counts {self._position()}")
        stream = Stream(steps=self._steps, end=self._end)
        places, known = _Pointer(self._places), _Pointer(self._categories)
        numbers: dict[int, int] = {}
        born: dict[int, int] = {}
        sizes: list[int] = []
        for position, each in enumerate(happened):
            for _, addresses in known.until(position):
                _name(stream, numbers, addresses)
            for _, self._here in places.until(position):
                pass
            if each["action"] == _BIRTH:
                numbers[each["addr"]] = len(born)
                born[len(born)] = position
                sizes.append(each["size"])
            number = numbers[each["addr"]] if each["action"] == _BIRTH else numbers.pop(each["addr"])
            action = "alloc" if each["action"] == _BIRTH else "free"
            stream.events.append(Event(action, number, each["size"], self._here, ""))
        for _, addresses in known.until(len(happened)):
            _name(stream, numbers, addresses)
        _name_kept(stream, (number for number in numbers.values() if sizes[number] >= SMALLEST_KEPT_BYTES), born)
        return stream

    def _move_to(self, place: Place) -> None:
        self._here = place
        self._places.append((self._position(), place))

    def _position(self) -> int:
        return self._count() - self._start

    def _count(self) -> int:
        """Births and deaths since the process began."""
        stats: Any = torch._C._cuda_memoryStats(self._device.index or 0)["allocation"]["all"]  # noqa: SLF001 - the public form is slow
        return stats["allocated"] + stats["freed"]


class _Pointer:
    """Goes through notes in order."""

    def __init__(self, notes: list[Any]) -> None:
        self._notes = notes
        self._next = 0

    def until(self, position: int) -> Iterator[Any]:
        """The notes made before the event at a position."""
        while self._next < len(self._notes) and self._notes[self._next][0] <= position:
            yield self._notes[self._next]
            self._next += 1


def _name(stream: Stream, numbers: dict[int, int], addresses: dict[int, Category]) -> None:
    for address, category in addresses.items():
        number = numbers.get(address)
        if number is not None:
            stream.categories[number] = category


def _name_kept(stream: Stream, alive: Iterable[int], born: dict[int, int]) -> None:
    """What is nobody's, and lives from before the last step to its end, is a library's workspace."""
    for number in alive:
        if born[number] < stream.steps[-1]:
            stream.categories.setdefault(number, "workspace")
