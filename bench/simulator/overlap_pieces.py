"""Cuts a training step in which losses reach beyond their module into the pieces it is made of. Imports no torch.

Which backwards there are is known beforehand (`partition.overlap`); here the events of each find their place. Between
backwards, gradients of one size are added and let go, that of the boundary they belong to; at the end of a module's
step tensors at the boundaries of the pieces that are done are let go.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from bench.simulator.pieces import AFTER, UPDATE, Key, PieceError, Stretch, fold, round_to_block
from bench.simulator.stream import OUTSIDE, Event, Place, Stream
from partition.overlap import ModuleStep

CONTEXT = "context"


class PassKey(NamedTuple):
    """A unit, or the context before a module, in one backward through a piece."""

    module: int
    """Whose step it is."""
    scope: int
    """Number of the piece in that step's `ModuleStep.scopes`."""
    number: int
    """Which of the passes through it."""
    unit: str
    """Name of the unit, or `context`."""


class BetweenKey(NamedTuple):
    """What happens before, between and behind the passes through a piece."""

    module: int
    scope: int
    number: int


@dataclass(slots=True)
class OverlappingPieces:
    """Pieces of a step."""

    unit_names: Sequence[str]
    stretches: dict[Key | PassKey | BetweenKey, Stretch] = field(default_factory=dict)
    dropped: list[Counter[int]] = field(default_factory=list)
    """For every module, bytes let go at the end of its step, by position between units; -1: scalars."""
    boundary_bytes: dict[int, set[int]] = field(default_factory=dict)
    """By position between units, sizes of what was let go there."""

    @property
    def keyed(self) -> dict[Key, Stretch]:
        """Those that a step without overlap has as well."""
        return {key: stretch for key, stretch in self.stretches.items() if isinstance(key, Key)}


class _Segment(NamedTuple):
    """Events of one announced place, in runs that share a part of it."""

    place: Place
    runs: list[tuple[Place, list[Event]]]


def cut_overlapping(
    stream: Stream, step: int, modules: Sequence[ModuleStep], unit_names: Sequence[str]
) -> OverlappingPieces:
    """Pieces of a step.

    Args:
        stream: of the training.
        step: number of the step.
        modules: what its modules do.
        unit_names: of the chain.

    Raises:
        PieceError: the step is not as planned.
    """
    cutter = _Cutter(modules, {name: unit for unit, name in enumerate(unit_names)})
    for segment in _segments(stream, step):
        cutter.take(segment)
    pieces = OverlappingPieces(unit_names, dropped=cutter.dropped, boundary_bytes=cutter.boundary_bytes)
    pieces.stretches = {key: fold(events) for key, events in cutter.events.items()}
    return pieces


def _segments(stream: Stream, step: int) -> Iterator[_Segment]:
    events = stream.step_events(step)
    runs = [(place, list(run)) for place, run in groupby(stream.events[events.start : events.stop], key=_place_of)]
    for place, of_place in groupby(runs, key=_announced):
        yield _Segment(place, list(of_place))


def _place_of(event: Event) -> Place:
    return event.place


def _announced(run: tuple[Place, list[Event]]) -> Place:
    return run[0].within or run[0]


class _Cutter:
    """Where in the step the next segment belongs."""

    def __init__(self, modules: Sequence[ModuleStep], units: dict[str, int]) -> None:
        self.modules = modules
        self.units = units
        self.events: dict[Key | PassKey | BetweenKey, list[Event]] = {}
        self.dropped: list[Counter[int]] = [Counter() for _ in modules]
        self.boundary_bytes: dict[int, set[int]] = {}
        self.module = -1
        self.key = Key(-1, "before")
        self.losses = 0
        """Losses of the module that have begun."""
        self.loss_follows = False
        """The next backward is that of a loss."""
        self.scopes = 0
        """Pieces of the module's step that gradients have passed through."""
        self.born: dict[int, int] = {}
        """Storage -> position between units that it belongs to; none for scalars."""

    def take(self, segment: _Segment) -> None:
        """Put the events of a segment where they belong."""
        place = segment.place
        events = [event for _, run in segment.runs for event in run]
        if place.phase == "backward" and self.loss_follows:
            self.loss_follows = False
            self.key = Key(self.module, self.key.part, of_backward=True)
            self._add(self.key, events, self._end)
        elif place.phase == "backward":
            self._take_backward(segment, events)
        elif place.phase == OUTSIDE:
            self._take_outside(events)
        elif place.phase in ("unit", CONTEXT):
            self._take_forward(place, events)
        elif place.phase in ("auxiliary", "head"):
            losses = self.modules[self.module].losses
            if self.losses == len(losses):
                raise PieceError(f"module {self.module + 1} has more losses than {len(losses)}")
            self.key = Key(self.module, str(losses[self.losses]))
            self.losses += 1
            self.loss_follows = True
            self._add(self.key, events)
        elif place.phase == "optimizer":
            self.key = Key(self.module, UPDATE)
            self._add(self.key, events)
        else:
            raise PieceError(f"a step with the phase '{place.phase}' is not a sequence of modules that overlap")

    @property
    def _end(self) -> int:
        return self.modules[self.module].pieces[-1].stop

    def _take_forward(self, place: Place, events: list[Event]) -> None:
        module = (place.module or 0) + (place.phase == CONTEXT)
        if module != self.module:
            self.module, self.losses, self.scopes = module, 0, 0
        unit = None if place.unit is None else self.units[place.unit]
        self.key = Key(module, CONTEXT if unit is None else "forward", place.unit)
        self._add(self.key, events, self.modules[module].pieces[0].start if unit is None else unit + 1)

    def _take_outside(self, events: list[Event]) -> None:
        if self.key.part == UPDATE:
            self._add(Key(-1, AFTER), events)
        elif self.scopes and self.scopes == len(self.modules[self.module].scopes):
            self._drop(events)
        else:
            self._add(self.key, events)

    def _take_backward(self, segment: _Segment, events: list[Event]) -> None:
        if all(place.within is None for place, _ in segment.runs):
            self._drop(events)
            return
        scopes = self.modules[self.module].scopes
        if self.scopes == len(scopes):
            raise PieceError(f"gradients pass through more than {len(scopes)} pieces in module {self.module + 1}")
        scope, number, self.scopes = scopes[self.scopes], self.scopes, self.scopes + 1
        passes, inside = 0, False
        key: PassKey | None = None
        for place, run in segment.runs:
            if place.within is None:
                passes += inside
                inside = False
                self._add(BetweenKey(self.module, number, passes), run, scope.units.stop)
                continue
            if not inside:
                key, inside = None, True
            named = CONTEXT if place.of == CONTEXT else place.unit
            if named is not None:
                if named != CONTEXT and self.units[named] not in scope.units:
                    raise PieceError(f"a backward through {scope.units} comes to unit {named}")
                key = PassKey(self.module, number, passes, named)
            if key is None:
                raise PieceError(f"a backward of module {self.module + 1} begins outside units: {place}")
            self._add(key, run, scope.units.start if key.unit == CONTEXT else self.units[key.unit])
        if passes + inside != len(scope.passes):
            raise PieceError(
                f"{passes + inside} backwards through {scope.units} in the step of module {self.module + 1}, not "
                f"{len(scope.passes)}"
            )

    def _add(self, key: Key | PassKey | BetweenKey, events: list[Event], position: int | None = None) -> None:
        self.events.setdefault(key, []).extend(events)
        for event in events if position is not None else ():
            if event.action == "alloc" and position is not None:
                self.born[event.storage] = position

    def _drop(self, events: list[Event]) -> None:
        for event in events:
            if event.action == "alloc":
                raise PieceError(f"{event.operator} makes a tensor at the end of module {self.module + 1}")
            position = self.born.get(event.storage, -1)
            size = round_to_block(event.bytes)
            self.dropped[self.module][position] += size
            if position >= 0:
                self.boundary_bytes.setdefault(position, set()).add(size)
