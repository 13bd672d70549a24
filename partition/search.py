"""Exact search for the best path of pieces: best-first, by the bounds of what is still to come.

A label is a path from the first node, known by what later pieces need of it. Labels are taken in the order of the
least that any path through them can cost; the first that arrives at the last node is therefore optimal, and what the
search left open is the proof. A label is dropped when another at the same node, with as many pieces to come, is
nowhere worse (Pareto dominance). Integers throughout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from heapq import heappop, heappush
from itertools import count
from math import gcd
from typing import Any

import numpy as np

from partition.bounds import Bounds, find_cost_bounds, least_through
from partition.pieces import EXACT_BELOW, Pieces

Row = tuple[int, int, int, int, int, int, int, int]
"""Target, opening, before, peak, after, end, cost and number of an arc."""


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A path from the first node."""

    node: int
    held: int
    """Sum of `before`: what the next piece finds in memory."""
    opened: int
    """Highest point so far that later pieces do not raise."""
    high: int
    """Highest point so far that later pieces raise by their `after`."""
    end: int
    """Sum of `end`."""
    cost: int
    """Sum of a cost; 0 where the peak is looked for."""
    arc: int
    """The last arc; -1 for the empty path."""
    previous: "Label | None"

    def path(self) -> tuple[int, ...]:
        """Arcs from the first node on."""
        arcs, label = [], self
        while label.previous is not None:
            arcs.append(label.arc)
            label = label.previous
        return tuple(reversed(arcs))

    def is_nowhere_better(self, other: "Label") -> bool:
        """Whether another label of the same node is at least as good in every way."""
        return (
            other.held <= self.held
            and other.high <= self.high
            and other.end <= self.end
            and other.cost <= self.cost
            and other.opened <= self.opened
        )


class Search:
    """Searches in one graph; rows of arcs are made once. Peaks and budgets are meant without the base."""

    def __init__(self, pieces: Pieces, bounds: Bounds, cost: Any) -> None:
        """Prepare.

        Args:
            pieces: the graph.
            bounds: its bounds.
            cost: (arcs,), integers; what decides between paths whose peak is low enough.
        """
        self.pieces = pieces
        self.bounds = bounds
        self.cost = cost
        self.least_through = least_through(pieces)
        columns = (pieces.target, pieces.opening, pieces.before, pieces.peak, pieces.after, pieces.end, cost)
        self.rows: list[Row] = list(zip(*(c.tolist() for c in columns), range(len(cost)), strict=True))
        self.starts: list[int] = np.searchsorted(pieces.source, np.arange(len(pieces.positions) + 1)).tolist()

    def least_peak(self, piece_count: int, below: int) -> tuple[int, ...] | None:
        """The path of so many pieces of least peak; None where none is below `below`."""
        return self._search(piece_count, below - 1, self.least_through < below, None)

    def least_cost(self, piece_count: int, budget: int, below: int | None = None) -> tuple[int, ...] | None:
        """The path of so many pieces with a peak of at most `budget` that costs least; None where there is none.

        Args:
            piece_count: pieces of the path.
            budget: bytes.
            below: only paths that cost less count.
        """
        allowed = self.least_through <= budget
        table, never = find_cost_bounds(self.pieces, self.cost, allowed, piece_count)
        below = never if below is None else below
        if table[piece_count][0] >= below:
            return None
        spread, _ = find_cost_bounds(self.pieces, -self.pieces.after, allowed, piece_count)
        return self._search(piece_count, budget, allowed, (table, spread), below)

    def least_cost_of_any(self, budget: int) -> tuple[int, ...] | None:
        """The path of any number of pieces with a peak of at most `budget` that costs least; None: there is none."""
        allowed = self.least_through <= budget
        most = len(self.bounds.after) - 1
        table, never = find_cost_bounds(self.pieces, self.cost, allowed, most)
        spread, _ = find_cost_bounds(self.pieces, -self.pieces.after, allowed, most)
        costs = [_least_of_any(table)], [_least_of_any(spread)]
        return self._search(None, budget, allowed, costs, never)

    def paths(self, piece_count: int) -> Iterator[tuple[int, ...]]:
        """Every path of so many pieces, none before one of lower peak."""
        bounds = self.bounds
        least = bounds.least(piece_count)
        numbers = count()
        if least is None:
            return
        queue = [(least, piece_count, next(numbers), Label(0, 0, least, -bounds.never, 0, 0, -1, None))]
        while queue:
            _, to_come, _, label = heappop(queue)
            if to_come == 0:
                yield label.path()
                continue
            to_come -= 1
            after_row, peak_row, end_row = bounds.after[to_come], bounds.peak[to_come], bounds.end[to_come]
            for target, opening, before, peak, after, end, _, arc in self._of(label.node):
                if after_row[target] >= bounds.never:
                    continue
                high, held = max(label.high + after, label.held + peak), label.held + before
                opened, ended = max(label.opened, label.held + opening), label.end + end
                bound = max(high + after_row[target], opened, held + peak_row[target], ended + end_row[target])
                new = Label(target, held, opened, high, ended, 0, arc, label)
                heappush(queue, (bound, to_come, next(numbers), new))

    def good_path(self, piece_count: int) -> tuple[int, ...] | None:
        """A path of so many pieces that follows the bounds of the peak: good, not best."""
        node, path = 0, []
        for to_come in range(piece_count - 1, -1, -1):
            after_row, peak_row = self.bounds.after[to_come], self.bounds.peak[to_come]
            row = min(
                (row for row in self._of(node) if after_row[row[0]] < self.bounds.never),
                key=lambda row: max(row[1], row[3] + after_row[row[0]], row[2] + peak_row[row[0]]),
                default=None,
            )
            if row is None:
                return None
            node = row[0]
            path.append(row[-1])
        return tuple(path)

    def _of(self, node: int, allowed: Any = None) -> list[Row]:
        """Rows of the arcs that leave a node, or of those of a mask."""
        start, stop = self.starts[node], self.starts[node + 1]
        if allowed is None:
            return self.rows[start:stop]
        return [self.rows[start + arc] for arc in np.flatnonzero(allowed[start:stop]).tolist()]

    @cached_property
    def _bounds_of_any(self) -> Bounds:
        """Bounds for any number of pieces, as one row."""
        bounds = self.bounds
        rows = ([_least_of_any(table)] for table in (bounds.after, bounds.peak, bounds.end))
        after, peak, end = rows
        return Bounds(after=after, peak=peak, end=end, never=bounds.never)

    def _search(
        self,
        piece_count: int | None,
        limit: int,
        allowed: Any,
        costs: tuple[list[list[int]], list[list[int]]] | None,
        cost_below: int = 0,
    ) -> tuple[int, ...] | None:
        """The best path with a peak of at most `limit`: by cost where there are bounds of it, else by peak.

        Args:
            piece_count: pieces of the path; None: any number, and every table is of one row.
            limit: bytes.
            allowed: which arcs count.
            costs: least sums of the cost, and of `after` with its sign turned.
            cost_below: only paths that cost less count.
        """
        bounds, step = (self.bounds, 1) if piece_count is not None else (self._bounds_of_any, 0)
        never, end_node = bounds.never, len(self.pieces.positions) - 1
        least = bounds.least(piece_count or 0)
        if least is None or least > limit:
            return None
        numbers = count()
        leaving = cache(partial(self._of, allowed=allowed))
        # Every peak is `least` or more, so that what lies below it makes no difference.
        queue = [(least, piece_count or 0, next(numbers), Label(0, 0, least, -never, 0, 0, -1, None))]
        seen: dict[tuple[int, int], list[Label]] = {}
        while queue:
            _, to_come, _, label = heappop(queue)
            if label.node == end_node:
                return label.path()
            to_come -= step
            after_row, peak_row, end_row = bounds.after[to_come], bounds.peak[to_come], bounds.end[to_come]
            cost_row, spread_row = (costs[0][to_come], costs[1][to_come]) if costs else (None, None)
            for target, opening, before, peak, after, end, cost, arc in leaving(label.node):
                high = max(label.high + after, label.held + peak)
                raised = high + after_row[target]
                if raised > limit:
                    continue
                held, ended = label.held + before, label.end + end
                opened = max(label.opened, label.held + opening)
                bound = max(raised, opened, held + peak_row[target], ended + end_row[target])
                if bound > limit:
                    continue
                spent = 0
                if cost_row is not None and spread_row is not None:
                    # What stays within the limit whatever comes makes no difference either.
                    opened, high = least, max(high, limit + spread_row[target])
                    spent = label.cost + cost
                    bound = spent + cost_row[target]
                    if bound >= cost_below:
                        continue
                new = Label(target, held, opened, high, ended, spent, arc, label)
                others = seen.setdefault((target, to_come), [])
                if any(new.is_nowhere_better(other) for other in others):
                    continue
                others[:] = [other for other in others if not other.is_nowhere_better(new)]
                others.append(new)
                heappush(queue, (bound, to_come, next(numbers), new))
        return None


def _least_of_any(table: list[list[int]]) -> list[int]:
    """The least of every column."""
    return [min(column) for column in zip(*table, strict=True)]


def flops_of(pieces: Pieces) -> Any:
    """One number per arc that orders paths by added FLOPs alone."""
    return pieces.flops // (gcd(*map(int, np.unique(pieces.flops))) or 1)


def cost_of(pieces: Pieces) -> Any:
    """One number per arc that orders paths by added FLOPs, then by evenness: the sum of squared sizes."""
    positions = np.asarray(pieces.positions)
    squares = (positions[pieces.target] - positions[pieces.source]) ** 2
    flops = pieces.flops
    unit = gcd(*map(int, np.unique(flops))) or 1
    weight = pieces.unit_count**2 + 1
    largest = max(map(abs, map(int, (flops.max(), flops.min()))), default=0) // unit
    if largest * weight * len(pieces.positions) < EXACT_BELOW:
        return (flops // unit).astype(np.int64) * weight + squares
    return (flops // unit).astype(object) * weight + squares
