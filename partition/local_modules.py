"""Every local module a chain can have, as a graph of pieces: what `memory.py` computes, for all splits at once.

A module of units i .. j grows from that of i+1 .. j by wrapping unit i around it, so that all n(n+1)/2 modules take one
vector operation per length (with checkpointed segments, per length and unit). A node is a position between two units,
with what later modules need to know of earlier ones: the sources of context, and whether only the last module is to
come (the auxiliary networks before it may be of another kind).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from partition.memory import find_sides, next_sources, run_stretches
from partition.module_segments import best_segments
from partition.overlapping_modules import overlapping_modules
from partition.pieces import EXACT_BELOW, Pieces, make_pieces
from partition.profile import NOTHING, CostProfile, NetworkCost, Place, Sides, Stretch, join
from partition.runs import find_runs
from partition.stretches import SUMS, Array, Pair, cut_pair, join_pairs, largest_number

Fact = tuple[tuple[int, ...], bool]
"""What later modules need to know at a node: shapes that context reads, latest first; only the last module to come."""


class _Nodes:
    """Boundaries between modules, numbered as they are found."""

    def __init__(self, unit_count: int) -> None:
        self.positions = [0]
        self.at: list[list[tuple[int, Fact]]] = [[] for _ in range(unit_count)]
        """By position: number and fact of the nodes there."""
        self.at[0].append((0, ((), False)))
        self._numbers: dict[Fact, Array] = {}

    def behind(self, position: int, fact: Fact) -> Array:
        """Numbers of the nodes at all later positions but the end, where this is known."""
        numbers = self._numbers.setdefault(fact, np.full(len(self.at), -1))
        for later in (position + 1 + np.flatnonzero(numbers[position + 1 :] < 0)).tolist():
            numbers[later] = len(self.positions)
            self.at[later].append((len(self.positions), fact))
            self.positions.append(later)
        return numbers[position + 1 :]


def local_modules(profile: CostProfile) -> Pieces:
    """The graph of all splits; time and memory O(units^2) per kind of auxiliary networks and context.

    Where losses reach beyond their module, it is that of `overlapping_modules`.
    """
    if profile.overlap is not None:
        return overlapping_modules(profile)
    unit_count = len(profile.units)
    cores = [_Cores(profile, kind, Place.MODULE) for kind in profile.auxiliaries or ((),)]
    final = _Cores(profile, (), profile.final) if profile.final != Place.MODULE else cores[0]
    first, between, before_last = profile.kinds
    told_apart = len({first, between, before_last}) > 1
    nodes = _Nodes(unit_count)
    arcs: list[dict[str, Array]] = []
    for position in range(unit_count):
        for node, (sources, last_to_come) in nodes.at[position]:
            context = final_context = NetworkCost()
            if profile.contexts and position:
                final_context = profile.final_contexts[position, sources]
            if profile.contexts and 0 < position < unit_count - 1:
                context = profile.contexts[position, sources]
            if profile.auxiliaries and not last_to_come:
                for role in (False, True) if told_apart else (False,):
                    kind = first if position == 0 else before_last if role else between
                    targets = nodes.behind(
                        position, (next_sources(profile.shapes, sources, position, profile.context_depth), role)
                    )
                    arcs.append(cores[kind].leaving(position, slice(position, -1), context, node, targets))
            if last_to_come or not told_apart or position == 0:
                to_end = np.array([-1])
                arcs.append(final.leaving(position, slice(unit_count - 1, None), final_context, node, to_end))
    columns = {name: np.concatenate([arc[name] for arc in arcs]) for name in arcs[0]}
    positions = np.array([*nodes.positions, unit_count])
    order = np.argsort(positions, kind="stable")
    number = np.argsort(order)
    columns["source"], columns["target"] = number[columns["source"]], number[columns["target"]]
    return make_pieces(positions[order].tolist(), profile.base_bytes, **columns)


class _Cores:
    """Every module that ends with one kind of auxiliary networks, without context and update."""

    def __init__(self, profile: CostProfile, auxiliaries: Sequence[NetworkCost], first: Place) -> None:
        """Compute all modules, with `first` as the place of their first unit."""
        self.profile = profile
        self.first = first
        count = len(profile.units)
        self.ends = (*(auxiliaries or (NetworkCost(),) * count)[: count - 1], profile.head)
        self.dtype: Any = np.int64 if largest_number(profile) * count < EXACT_BELOW else object
        self.delta = np.zeros((count, count), dtype=self.dtype)
        self.peak = np.zeros((count, count), dtype=self.dtype)
        grows = {type(None): self._grow, int: self._grow_segments, tuple: self._grow_runs, str: self._grow_balanced}
        grow = grows[type(profile.segments)]
        losses = np.cumsum([0, *(unit.extra_loss for unit in profile.units)])
        for extra in {bool(losses[-1]), False}:
            ends = [end.forward for end in self.ends], [profile.adding if extra else NOTHING] * count
            backward = self._pair([end.backward for end in self.ends])
            pairs = [*map(self._pair, ends), backward]
            for size, (delta, peak) in enumerate(grow(pairs), start=1):
                start = np.arange(count - size + 1)
                start = start[(losses[start + size] > losses[start]) == extra]
                self.delta[start, start + size - 1], self.peak[start, start + size - 1] = delta[start], peak[start]
        self.closing = self._pair([end.closing for end in self.ends])
        self.persistent, self.kept, *self.of_ends = (
            self._array([getattr(end, name) for end in self.ends]) for name in ("persistent_bytes", "kept_bytes", *SUMS)
        )
        self.of_units = [np.cumsum(self._array([0, *(getattr(unit, name) for unit in profile.units)])) for name in SUMS]
        recomputed = [unit.flops * again for unit, again in zip(profile.units, _recomputed(profile), strict=True)]
        self.of_units[-1] = np.cumsum(self._array([0, *recomputed]))

    def leaving(self, start: int, stops: slice, context: NetworkCost, source: int, targets: Array) -> dict[str, Array]:
        """Columns of the modules that begin with unit `start` and end with each unit of `stops`."""
        gradients, update, flops = (
            sums[1:][stops] - sums[start] + own[stops] + getattr(context, name)
            for sums, own, name in zip(self.of_units, self.of_ends, SUMS, strict=True)
        )
        persistent = self.persistent[stops] + context.persistent_bytes
        nothing = np.zeros_like(persistent)
        stretches = [
            (nothing, nothing),
            context.forward,
            (self.delta[start, stops], self.peak[start, stops]),
            context.backward,
            cut_pair(self.closing, stops),
        ]
        if self.profile.update_per_module:
            stretches.append((-gradients, update))
            held = nothing
        else:
            held = gradients + update + self.kept[stops]
        delta, peak = join_pairs(stretches)
        return {
            "source": np.full(len(targets), source),
            "target": targets,
            "opening": nothing,
            "before": persistent + delta,
            "peak": persistent + peak,
            "after": persistent,
            "end": persistent + held,
            "flops": flops,
        }

    def _grow(self, ends: list[Pair]) -> Any:
        """Stretches of all modules of 1, 2, .. units by their first unit, given those of the networks at their ends."""
        count = len(self.profile.units)
        inside, first = (
            (self._units("forward", (place, Place.INSIDE)), self._units("backward", (place, Place.INSIDE)))
            for place in (Place.INSIDE, self.first)
        )
        last, only = (
            (self._units("forward", (place, Place.MODULE)), self._units("backward", (place, Place.MODULE)))
            for place in (Place.INSIDE, self.first)
        )
        yield join_pairs([only[0], *ends, only[1]])
        core = join_pairs([last[0], *ends, last[1]])
        for size in range(2, count + 1):
            core = cut_pair(core, slice(1, None))
            here = slice(0, count - size + 1)
            yield join_pairs([cut_pair(first[0], here), core, cut_pair(first[1], here)])
            core = join_pairs([cut_pair(inside[0], here), core, cut_pair(inside[1], here)])

    def _grow_segments(self, ends: list[Pair]) -> Any:
        """The same with checkpointed segments, which lie otherwise in every length."""
        count = len(self.profile.units)
        for size in range(1, count + 1):
            runs = find_runs(self.profile.segments, range(size))
            sides = find_sides(runs, self.first)

            def unit(what: str, place: int, sides: list[Sides] = sides, size: int = size) -> Pair:
                return cut_pair(self._units(what, sides[place]), slice(place, place + count - size + 1))

            stretches = [unit("forward", place) for place in range(size)]
            stretches += [cut_pair(end, slice(size - 1, None)) for end in ends]
            for run in reversed(runs):
                stretches.append(unit("resume", run.units[-1]))
                stretches += [unit("recompute", place) for place in run.units]
                stretches += [unit("backward", place) for place in reversed(run.units)]
            yield join_pairs(stretches)

    def _grow_runs(self, ends: list[Pair]) -> Any:
        """The same with given runs, which lie otherwise in every module."""
        count = len(self.profile.units)
        for size in range(1, count + 1):
            modules = []
            for start in range(count - size + 1):
                units = range(start, start + size)
                if self.profile.final == Place.FINAL and (units.stop == count) != (self.first == Place.FINAL):
                    modules.append(NOTHING)  # only the last module is, and it ends with the last unit
                    continue
                between = [(delta[units[-1]], peak[units[-1]]) for delta, peak in ends]
                modules.append(join(run_stretches(self.profile, units, self.first, between)))
            yield self._pair(modules)

    def _grow_balanced(self, ends: list[Pair]) -> Any:
        """The same with the segments of least peak in every module."""
        found = best_segments(self.profile, ends, self.first, self.dtype)
        for size in range(1, len(self.profile.units) + 1):
            yield found.stretches(size)

    def _units(self, what: str, sides: Sides) -> Pair:
        """A stretch of every unit; nothing where a unit cannot stand there."""
        return self._pair([getattr(unit, what).get(sides, NOTHING) for unit in self.profile.units])

    def _array(self, values: Sequence[int]) -> Array:
        return np.array(values, dtype=self.dtype)

    def _pair(self, stretches: Sequence[Stretch]) -> Pair:
        return self._array([delta for delta, _ in stretches]), self._array([peak for _, peak in stretches])


def _recomputed(profile: CostProfile) -> list[bool]:
    """Whether each unit runs again in the backward."""
    if isinstance(profile.segments, tuple):
        return [not run.kept for run in profile.segments for _ in run.units]
    return [profile.segments is not None] * len(profile.units)
