"""Cuts the event stream of a training step into the pieces it is made of. Imports no torch.

A piece is a run of events: the forward or backward of a unit, of the networks that give a module its loss, of context;
what closes a module; its update. Events between places belong to the piece before them.
"""

from dataclasses import dataclass, field
from itertools import groupby

from bench.simulator.allocator import BLOCK_BYTES
from bench.simulator.stream import OUTSIDE, Event, Place, Stream

Stretch = tuple[int, int]
"""Net bytes and highest prefix."""
UPDATE, AFTER = "update", "after"


class PieceError(ValueError):
    """A step with a phase that has no place in a sequence of local modules."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which piece of a step."""

    module: int
    """Local module; -1 for what comes before the first and after the last."""
    part: str
    """`before`, `context`, `forward`, `loss`, `adding`, `resume`, `recompute`, `backward`, `closing`, `update` or
    `after`."""
    unit: str | None = None
    of_backward: bool = False
    """For `context` and `loss`: their backward."""


@dataclass(slots=True)
class _Cutter:
    """Where in the step the next event belongs."""

    key: Key = Key(-1, "before")
    modules: int = 0
    """Modules that have begun."""
    backward: bool = False
    """The module's backward has begun."""
    pieces: dict[Key, list[Event]] = field(default_factory=dict)

    def visit(self, place: Place) -> Key:
        """The piece that events in a place belong to, given those before."""
        module = -1 if place.module is None else place.module
        phase = place.phase
        if phase == "unit":
            return self._visit_unit(place, module)
        if phase == "backward":
            self.backward = True
            return self._visit_backward(place, module)
        if phase == OUTSIDE:
            return self._visit_outside()
        keys = {
            "context": Key(self.modules, "context"),
            "auxiliary": Key(module, "loss"),
            "head": Key(module, "loss"),
            "optimizer": Key(module, UPDATE),
            "extra loss": self.key,
            "recompute": self.key,
        }
        if phase not in keys:
            raise PieceError(f"a step with the phase '{phase}' is not a sequence of local modules")
        return keys[phase]

    def _visit_unit(self, place: Place, module: int) -> Key:
        if not (self.backward and module == self.modules - 1):
            self.modules, self.backward = module + 1, False
            return Key(module, "forward", place.unit)
        begun = Key(module, "backward", place.unit)
        if begun in self.pieces:
            # What the last unit of a segment did of its backward before the segment is run again is a piece by itself.
            self.pieces[Key(module, "resume", place.unit)] = self.pieces.pop(begun)
        return Key(module, "recompute", place.unit)

    def _visit_outside(self) -> Key:
        """Between places: what follows a backward closes its module, anything else belongs to the piece before."""
        if self.key.part in ("backward", "recompute") or self.key.of_backward:
            return Key(self.key.module, "closing")
        if self.key.part == "loss":
            return Key(self.key.module, "adding")
        return Key(-1, AFTER) if self.key.part == UPDATE else self.key

    def _visit_backward(self, place: Place, module: int) -> Key:
        if place.unit is not None:
            return Key(module, "backward", place.unit)
        if place.of in ("auxiliary", "head"):
            return Key(module, "loss", of_backward=True)
        if place.of == "context":
            return Key(module, "context", of_backward=True)
        return Key(module, "loss", of_backward=True) if self.key.part in ("loss", "adding", "forward") else self.key


def cut_step(stream: Stream, step: int) -> dict[Key, Stretch]:
    """Pieces of a step in the order they happen.

    Raises:
        PieceError: the step is no sequence of local modules.
    """
    cutter = _Cutter()
    events = stream.step_events(step)
    for place, run in groupby(stream.events[events.start : events.stop], key=_place_of):
        cutter.key = cutter.visit(place)
        cutter.pieces.setdefault(cutter.key, []).extend(run)
    return {key: fold(run) for key, run in cutter.pieces.items()}


def fold(events: list[Event]) -> Stretch:
    """Net bytes and highest prefix of events, requests rounded to blocks."""
    delta = peak = 0
    for event in events:
        size = round_to_block(event.bytes)
        delta += size if event.action == "alloc" else -size
        peak = max(peak, delta)
    return delta, peak


def round_to_block(size: int) -> int:
    """Bytes of the smallest block that holds a request."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _place_of(event: Event) -> Place:
    return event.place
