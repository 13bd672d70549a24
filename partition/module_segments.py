"""Where to cut local modules into checkpointed segments: for every module, the segments of least peak.

Inside a module the segments lie inside one another, F_1 F_2 .. loss .. R_2 R_1. What a module leaves behind does not
depend on its segments (gradients, its output), so that its least peak is a recurrence over where the first one ends:

    P[i][j] = min over m of  max( p(F), d(F) + P[m+1][j], d(F) + d[m+1][j] + p(R) )

with F the forward of units i .. m and R their backward with what is run again; for m = j the loss lies between. All
last units j are computed at once: time O(units^3), of which Python does O(units^2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from partition.profile import NOTHING, CostProfile, Place, Stretch, join
from partition.runs import Run, Runs
from partition.split import Split

Array = Any
Pair = tuple[Array, Array]
"""Net bytes and highest prefix, by a module's last unit, (units,)."""


class SegmentError(ValueError):
    """A module leaves something else behind when it is cut into other segments, and no recurrence finds the best."""


class _Table:
    """Stretches of all modules with the best segments found so far; arrays (first unit, last unit)."""

    def __init__(self, count: int, dtype: Any) -> None:
        self.known = np.zeros((count, count), dtype=bool)
        self.delta, self.peak = (np.zeros((count, count), dtype=dtype) for _ in range(2))
        self.first_end = np.zeros((count, count), dtype=np.int64)
        """Last unit of the first segment."""

    def offer(self, start: int, stops: slice, found: Pair, valid: Array, first_end: int) -> None:
        """Modules that begin with a unit, with another first segment."""
        delta, peak = found
        known, best = self.known[start, stops], self.peak[start, stops]
        if np.any(known & valid & (self.delta[start, stops] != delta)):
            raise SegmentError("what a module leaves behind depends on its segments")
        better = valid & (~known | (peak <= best))
        for array, values in ((self.delta, delta), (self.peak, peak)):
            array[start, stops] = np.where(better, values, array[start, stops])
        self.first_end[start, stops][better] = first_end
        self.known[start, stops] |= valid


@dataclass(frozen=True, slots=True, eq=False)
class ModuleSegments:
    """The best segments of every module."""

    modules: _Table
    rest: _Table
    """What is left of a module behind a segment."""

    def stretches(self, size: int) -> Pair:
        """Stretches of the modules of so many units, by their first."""
        return np.diagonal(self.modules.delta, size - 1), np.diagonal(self.modules.peak, size - 1)

    def runs(self, units: range) -> Runs:
        """Segments of one module."""
        table, start, runs = self.modules, units.start, []
        while start < units.stop:
            stop = int(table.first_end[start, units.stop - 1]) + 1
            runs.append(Run(range(start, stop)))
            table, start = self.rest, stop
        return tuple(runs)


def best_segments(profile: CostProfile, ends: list[Pair], first: Place, dtype: Any = np.int64) -> ModuleSegments:
    """The segments of least peak of all modules; the fewest where several are as good.

    Args:
        profile: costs of the units.
        ends: what lies between the last forward and the first backward of a module, one after the other.
        first: place of a module's first unit.
        dtype: of the arrays; `object` for integers of any size.

    Raises:
        SegmentError: segments change what a module leaves behind.
    """
    loss = [join((int(delta[last]), int(peak[last])) for delta, peak in ends) for last in range(len(profile.units))]
    rest = _fill(profile, loss, Place.SEGMENT, None, dtype)
    return ModuleSegments(_fill(profile, loss, first, rest, dtype), rest)


def place_segments(profile: CostProfile, split: Split) -> Runs:
    """The segments of least peak in the modules of a split. Raises SegmentError as `best_segments`."""
    count, tables, runs = len(profile.units), {}, []
    for k, units in enumerate(split.modules()):
        kind = None if k == split.module_count - 1 else profile.kind(k, split.module_count)
        extra = any(profile.units[unit].extra_loss for unit in units)
        if (kind, extra) not in tables:
            ends = [profile.head] * count if kind is None else profile.auxiliaries[kind]
            between = [[end.forward for end in ends], [profile.adding if extra else NOTHING] * count]
            between.append([end.backward for end in ends])
            pairs = [(np.array([d for d, _ in part]), np.array([p for _, p in part])) for part in between]
            first = profile.final if kind is None else Place.MODULE
            tables[kind, extra] = best_segments(profile, pairs, first)
        runs += tables[kind, extra].runs(units)
    return tuple(runs)


def _fill(profile: CostProfile, loss: list[Stretch], first: Place, rest: _Table | None, dtype: Any) -> _Table:
    """The table of modules whose first unit has a place, with what is behind a segment; None: that is this table."""
    table = _Table(len(loss), dtype)
    rest = rest or table
    for start in reversed(range(len(loss))):
        for last, inner, final in _grow(profile, start, first):
            if final is not None:
                single = join([final[0], loss[last], final[1]])
                table.offer(start, slice(last, last + 1), single, np.array([True]), last)
            if inner is not None and last + 1 < len(loss):
                (net, high), (backward_net, backward_high) = inner
                later = slice(last + 1, None)
                before = net + rest.delta[last + 1, later]
                highs = np.maximum(net + rest.peak[last + 1, later], before + backward_high)
                found = before + backward_net, np.maximum(highs, high)
                table.offer(start, later, found, rest.known[last + 1, later], last)
    return table


_Sides = tuple[Stretch, Stretch] | None
"""Forward and backward of a segment; None where a unit cannot stand so."""


def _grow(profile: CostProfile, start: int, first: Place) -> Iterator[tuple[int, _Sides, _Sides]]:
    """Segments from unit `start` on by their last unit, with more behind them and as the last."""
    forward = again = backward = NOTHING
    for last in range(start, len(profile.units)):
        unit = profile.units[last]
        place = Place.INSIDE if last > start else first
        closed: list[_Sides] = []
        for side in ((place, Place.SEGMENT), (place, Place.MODULE)):
            if side not in unit.forward:
                closed.append(None)
                continue
            back = [unit.resume[side], again, unit.recompute[side], unit.backward[side], backward]
            closed.append((join([forward, unit.forward[side]]), join(back)))
        yield last, closed[0], closed[1]
        inside = (place, Place.INSIDE)
        if inside not in unit.forward:
            return
        forward = join([forward, unit.forward[inside]])
        again = join([again, unit.recompute[inside]])
        backward = join([unit.backward[inside], backward])
