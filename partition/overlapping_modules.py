"""Every local module a chain can have where losses reach beyond it, as a graph of pieces.

What the step of a module does follows from the module and from the pieces that earlier ones kept (`overlap.py`). So a
node is a position between two units with the pieces alive there: the link of the module before, or the modules of a
window but one. There are as many nodes as units times lengths of a link, or as the ways to place the boundaries of a
window; nodes of one position whose pieces are of one kind are computed together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from partition.memory import piece_sides
from partition.overlap import Alive, Loss, ModuleStep, Overlap, Pass, plan_module
from partition.pieces import EXACT_BELOW, Pieces, make_pieces
from partition.profile import NOTHING, CostProfile, NetworkCost, Place, Sides, Stretch
from partition.stretches import SUMS, Array, Pair, cut_pair, join_pairs, largest_number

Signature = tuple[tuple[bool, bool, bool], ...]
"""Of every piece alive: whether it is a link, whether its gradients are summed, whether it begins the chain."""


@dataclass(frozen=True, slots=True)
class _Fact:
    """What later modules need to know at a node."""

    alive: tuple[tuple[int, bool, bool], ...]
    """First unit of every piece alive, whether it is a link, whether its gradients are summed."""
    last_to_come: bool
    """Only the last module is to come; told apart only where auxiliary networks before it are of another kind."""


class _Nodes:
    """Boundaries between modules, numbered as they are found."""

    def __init__(self, unit_count: int) -> None:
        self.positions = [0]
        self.at: list[dict[_Fact, int]] = [{} for _ in range(unit_count)]
        self.at[0][_Fact((), last_to_come=False)] = 0

    def number(self, position: int, fact: _Fact) -> int:
        known = self.at[position]
        if fact not in known:
            known[fact] = len(self.positions)
            self.positions.append(position)
        return known[fact]


def overlapping_modules(profile: CostProfile) -> Pieces:
    """The graph of all splits; time and memory O(arcs), see `count_arcs`."""
    if profile.overlap is None:
        raise ValueError("the losses of this profile stay inside their modules")
    builder = _Builder(profile, profile.overlap)
    for position in range(len(profile.units)):
        builder.leave(position)
    columns = {name: np.concatenate([arc[name].ravel() for arc in builder.arcs]) for name in builder.arcs[0]}
    positions = np.array([*builder.nodes.positions, len(profile.units)])
    order = np.argsort(positions, kind="stable")
    number = np.argsort(order)
    columns["source"], columns["target"] = number[columns["source"]], number[columns["target"]]
    return make_pieces(positions[order].tolist(), profile.base_bytes, **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Networks behind every unit, (units,)."""

    forward: Pair
    backward: Pair
    persistent: Array
    kept: Array
    sums: dict[str, Array]


class _Builder:
    """Computes the arcs that leave each position, positions ascending."""

    def __init__(self, profile: CostProfile, overlap: Overlap) -> None:
        self.profile = profile
        self.overlap = overlap
        self.count = len(profile.units)
        self.nodes = _Nodes(self.count)
        self.arcs: list[dict[str, Array]] = []
        self.told_apart = len(set(profile.kinds)) > 1
        self.dtype: Any = np.int64 if largest_number(profile) * self.count * 8 < EXACT_BELOW else object
        self._ends: dict[tuple[Loss, int], _Ends] = {}
        self._links: dict[tuple[bool, bool], Array] = {}
        """Nodes behind links by position, by whether gradients are summed and only the last module is to come."""
        self._known_units: dict[tuple[str, Sides], Pair] = {}
        places = (Place.MODULE, Place.SEGMENT) if overlap.links else (Place.MODULE,)
        self.forward = {place: self._table("forward", place) for place in places}
        self.passes = {(what, place): self._table(what, place) for what in Pass for place in places}
        self.links = np.array(overlap.links or (0,) * self.count)
        self.outputs = self._array([0, *profile.output_bytes])
        self.of_units = [np.cumsum(self._array([0, *(getattr(unit, name) for unit in profile.units)])) for name in SUMS]
        self.of_units[-1] = np.zeros_like(self.of_units[-1])  # nothing is recomputed
        starts = [profile.contexts.get((unit, ()), NetworkCost()) for unit in range(self.count)]
        self.contexts = {what: self._pair([one.passes.get(what, NOTHING) for one in starts]) for what in Pass}

    def leave(self, position: int) -> None:
        """Add the arcs that leave a position."""
        groups: dict[tuple[Signature, bool], list[tuple[_Fact, int]]] = {}
        for fact, node in self.nodes.at[position].items():
            signature = tuple((link, summed, start == 0) for start, link, summed in fact.alive)
            groups.setdefault((signature, fact.last_to_come), []).append((fact, node))
        for (_, last_to_come), members in groups.items():
            if not last_to_come:
                for stops in self._classes(position):
                    for role in (False, True) if self.told_apart else (False,):
                        self._add(position, members, stops, role=role)
            if last_to_come or not self.told_apart or position == 0:
                self._add(position, members, np.array([self.count]), role=False)

    def _classes(self, position: int) -> list[Array]:
        """Ends of modules that begin here, but for the last, by whether they are longer than their link."""
        stops = np.arange(position + 1, self.count)
        if not self.profile.auxiliaries:
            return []
        longer = stops - position > self.links[stops - 1] if self.overlap.links else np.zeros(len(stops), dtype=bool)
        return [some for some in (stops[longer], stops[~longer]) if len(some)]

    def _add(self, position: int, members: Sequence[tuple[_Fact, int]], stops: Array, *, role: bool) -> None:
        """Add the modules from a position to each of `stops`, behind each of some nodes of one kind."""
        last = int(stops[0]) == self.count
        example = members[0][0].alive
        ends = [*(start for start, _, _ in example[1:]), position]
        # Without pieces alive, the position is the end of none.
        alive = [
            Alive(range(start, end), link, summed) for (start, link, summed), end in zip(example, ends, strict=False)
        ]
        step = plan_module(self.overlap, alive, range(position, int(stops[0])), len(alive), last=last)
        firsts = [np.array([fact.alive[place][0] for fact, _ in members])[:, None] for place in range(len(example))] + [
            np.full((1, 1), position)
        ]
        if len(step.pieces) > 1:
            firsts.append((stops - self.links[stops - 1])[None, :])
        ends = [*firsts[1:], stops[None, :]]
        columns = self._costs(step, alive, list(zip(firsts, ends, strict=True)), stops, role=role)
        shape = (len(members), len(stops))
        columns["source"] = np.array([node for _, node in members])[:, None]
        columns["target"] = np.full(shape, -1) if last else self._targets(step, members, firsts, stops, role=role)
        self.arcs.append({name: np.broadcast_to(column, shape) for name, column in columns.items()})

    def _targets(
        self, step: ModuleStep, members: Sequence[tuple[_Fact, int]], firsts: list[Array], stops: Array, *, role: bool
    ) -> Array:
        """Nodes at the ends of the modules."""
        if len(step.pieces) > 1:  # behind every stop its own link, whatever comes before
            (one,) = step.kept
            known = self._links.setdefault((one.summed, role), np.full(self.count, -1))
            for stop in stops[known[stops] < 0].tolist():
                fact = _Fact(((stop - int(self.links[stop - 1]), True, one.summed),), role)
                known[stop] = self.nodes.number(stop, fact)
            return np.broadcast_to(known[stops], (len(members), len(stops)))
        kept = len(step.kept)
        starts = np.stack([np.broadcast_to(first, (len(members), len(stops))) for first in firsts[-kept:]], axis=-1)
        marks = [(one.link, one.summed) for one in step.kept]
        numbers = np.empty((len(members), len(stops)), dtype=np.int64)
        same: dict[tuple[int, ...], Array] = {}
        for row, rows_of in enumerate(starts.tolist()):
            key = tuple(rows_of[0])
            if key in same:  # pieces of one beginning are kept behind all stops
                numbers[row] = same[key]
                continue
            for column, (stop, here) in enumerate(zip(stops.tolist(), rows_of, strict=True)):
                alive = tuple((start, *mark) for start, mark in zip(here, marks, strict=True))
                numbers[row, column] = self.nodes.number(stop, _Fact(alive, role))
            same[key] = numbers[row]
        return numbers

    def _costs(
        self, step: ModuleStep, alive: Sequence[Alive], pieces: list[tuple[Array, Array]], stops: Array, *, role: bool
    ) -> dict[str, Array]:
        """Columns of the modules; arrays of nodes and stops, one of which may have length 1."""
        profile, position = self.profile, step.pieces[0].start
        units = [*(one.units for one in alive), *step.pieces]
        place_of = {range_: place for place, range_ in enumerate(units)}
        context = profile.contexts.get((position, ()), NetworkCost()) if position else NetworkCost()
        first, between, before_last = profile.kinds
        kind = first if position == 0 else before_last if role else between
        networks = [self._networks(loss, kind) for loss in step.losses]
        stretches: list[Any] = [(np.zeros((1, 1), dtype=self.dtype), 0), context.forward]
        for place, (begin, end) in enumerate(pieces[len(alive) :]):
            stretches.append(_look_up(self.forward[Place.SEGMENT if place else Place.MODULE], begin, end))
        for ends in networks:
            stretches += [_row(ends.forward, stops - 1), _row(ends.backward, stops - 1)]
        for scope in step.scopes:
            begin, end = pieces[place_of[scope.units]]
            size = self.outputs[end]
            for number, what in enumerate(scope.passes):
                stretches.append(_times(profile.between[scope.kind, number], size))
                place = Place.SEGMENT if scope.link else Place.MODULE
                stretches.append(_look_up(self.passes[what, place], begin, end))
                if profile.contexts and not scope.link:
                    stretches.append((self.contexts[what][0][begin], self.contexts[what][1][begin]))
            stretches.append(_times(profile.between[scope.kind, len(scope.passes)], size))
        *counts, scalars = profile.dropped[step.kind]
        dropped = [place_of[range_] for range_ in step.dropped]
        bounds = [pieces[place][0] for place in dropped] + [pieces[place][1] for place in dropped[-1:]]
        stretches.append((-scalars - sum(c * self.outputs[bound] for c, bound in zip(counts, bounds, strict=True)), 0))
        delta, peak = join_pairs(stretches)
        gradients, update, flops = (
            (sums[stops] - sums[position] + getattr(context, name))[None, :]
            for sums, name in zip(self.of_units, SUMS, strict=True)
        )
        persistent = self._array([context.persistent_bytes] * len(stops))[None, :]
        for ends in networks:
            persistent = persistent + ends.persistent[stops - 1]
            gradients, update, flops = (
                total + ends.sums[name][stops - 1] for total, name in zip((gradients, update, flops), SUMS, strict=True)
            )
        kept = np.max([ends.kept[stops - 1] for ends in networks], axis=0) if networks else 0
        return {
            "opening": np.zeros((1, 1), dtype=self.dtype),
            "before": persistent + delta,
            "peak": persistent + peak,
            "after": persistent,
            "end": persistent + gradients + update + kept,
            "flops": flops,
        }

    def _networks(self, loss: Loss, kind: int) -> "_Ends":
        """What gives modules that end with each unit this loss."""
        if (loss, kind) not in self._ends:
            profile = self.profile
            known = {Loss.OWN: profile.auxiliaries, Loss.WINDOW: profile.windows}
            head = profile.whole if loss == Loss.WHOLE and profile.whole else profile.head
            costs = known[loss][kind] if loss in known else (head,) * self.count
            self._ends[loss, kind] = _Ends(
                forward=self._pair([one.forward for one in costs]),
                backward=self._pair([one.backward for one in costs]),
                persistent=self._array([one.persistent_bytes for one in costs]),
                kept=self._array([one.kept_bytes for one in costs]),
                sums={name: self._array([getattr(one, name) for one in costs]) for name in SUMS},
            )
        return self._ends[loss, kind]

    def _table(self, what: str | Pass, first: Place) -> Pair:
        """Stretches [first unit, last unit] of every piece: a forward, or a backward by what it is for."""
        count, backward = self.count, isinstance(what, Pass)
        delta, peak = (np.zeros((count, count), dtype=self.dtype) for _ in range(2))
        core: Pair | None = None
        for size in range(1, count + 1):
            here = slice(0, count - size + 1)
            # A unit's places depend on whether it is the last of its piece, and on nothing behind that.
            begins = piece_sides(range(min(size, 2)), link=first == Place.SEGMENT)[0]
            inner = piece_sides(range(min(size, 2) + 1), link=False)[1]
            outer, inside = cut_pair(self._units(what, begins), here), cut_pair(self._units(what, inner), here)
            rest = [] if core is None else [cut_pair(core, slice(1, None))]
            whole = join_pairs([*rest, outer] if backward else [outer, *rest])
            core = join_pairs([*rest, inside] if backward else [inside, *rest])
            start = np.arange(count - size + 1)
            delta[start, start + size - 1], peak[start, start + size - 1] = whole
        return delta, peak

    def _units(self, what: str | Pass, sides: Sides) -> Pair:
        """A stretch of every unit; nothing where a unit cannot stand there."""
        if (what, sides) not in self._known_units:
            self._known_units[what, sides] = self._pair(
                [
                    (unit.passes.get(what, {}) if isinstance(what, Pass) else unit.forward).get(sides, NOTHING)
                    for unit in self.profile.units
                ]
            )
        return self._known_units[what, sides]

    def _array(self, values: Sequence[int]) -> Array:
        return np.array(values, dtype=self.dtype)

    def _pair(self, stretches: Sequence[Stretch]) -> Pair:
        return self._array([delta for delta, _ in stretches]), self._array([peak for _, peak in stretches])


def _look_up(table: Pair, begin: Array, end: Array) -> Pair:
    return table[0][begin, end - 1], table[1][begin, end - 1]


def _row(pair: Pair, units: Array) -> Pair:
    return pair[0][units][None, :], pair[1][units][None, :]


def _times(stretch: Stretch, size: Array) -> Pair:
    return stretch[0] * size, stretch[1] * size
