"""Exact search for the best path of pieces: best-first, by the bounds of what is still to come.

A label is a path from the first node, known by what later pieces need of it. Labels are taken in the order of the
least that any path through them can cost; the first that arrives at the last node is therefore optimal, and what the
search left open is the proof. A label is dropped when another at the same node, with as many pieces to come, is
nowhere worse (Pareto dominance). Integers throughout.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from heapq import heappop, heappush
from itertools import count
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from partition.bounds import Bounds, CostBounds, least_through
from partition.pieces import EXACT_BELOW, Pieces

SHARED = 2**6
"""Budgets that differ by less than this part of them share the bounds of costs, which are a little lower then."""


class Label(NamedTuple):
    """A path from the first node."""

    node: int
    arc: int
    """The last arc; -1 for the empty path."""
    high: int
    """Highest point so far that later pieces raise by their `after`."""
    held: int
    """Sum of `before`: what the next piece finds in memory."""
    end: int
    """Sum of `end`."""
    opened: int
    """Highest point so far that later pieces do not raise."""
    cost: int
    """Sum of a cost; 0 where the peak is looked for."""
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


Arc = tuple[int, int, int, int, int, int, int, int]
"""Target, opening, before, peak, after, end, cost and number of an arc."""
Rest = Callable[[int], tuple[list[int], ...]]
"""From pieces to come to least values by node."""


class Search:
    """Searches in one graph. Peaks and budgets are meant without the base."""

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
        self._starts: list[int] = np.searchsorted(pieces.source, np.arange(len(pieces.positions) + 1)).tolist()
        self._rest = cache(lambda to_come: tuple(bounds.table[to_come].tolist()))
        self._of_any = bounds.table.min(axis=0)
        self._costs: dict[int, tuple[CostBounds, Rest]] = {}

    def least_peak(self, piece_count: int, below: int) -> tuple[int, ...] | None:
        """The path of so many pieces of least peak; None where none is below `below`."""
        return self._search(piece_count, below - 1, self._rest, None)

    def least_cost(self, piece_count: int, budget: int) -> tuple[int, ...] | None:
        """The path of so many pieces with a peak of at most `budget` that costs least; None where there is none."""
        costs, of_rest = self._cost_bounds(budget)
        if costs.row(piece_count)[0, 0] >= costs.never:
            return None
        return self._search(piece_count, budget, self._rest, of_rest, costs.never)

    def least_cost_of_any(self, budget: int) -> tuple[int, ...] | None:
        """The path of any number of pieces with a peak of at most `budget` that costs least; None: there is none."""
        costs, _ = self._cost_bounds(budget)
        rows = [costs.row(to_come) for to_come in range(len(self.bounds.table))]
        rest, of_rest = (tuple(table.tolist()) for table in (self._of_any, np.min(rows, axis=0)))
        return self._search(None, budget, lambda _: rest, lambda _: of_rest, costs.never)

    def paths(self, piece_count: int) -> Iterator[tuple[int, ...]]:
        """Every path of so many pieces, none before one of lower peak."""
        bounds = self.bounds
        least = bounds.least(piece_count)
        numbers = count()
        if least is None:
            return
        queue = [(least, piece_count, next(numbers), self._first(least))]
        while queue:
            _, to_come, _, label = heappop(queue)
            if to_come == 0:
                yield label.path()
                continue
            to_come -= 1
            after_row, peak_row, end_row = self._rest(to_come)
            for target, opening, before, peak, after, end, _, arc in self._leaving(label.node):
                if after_row[target] >= bounds.never:
                    continue
                high, held = max(label.high + after, label.held + peak), label.held + before
                opened, ended = max(label.opened, label.held + opening), label.end + end
                bound = max(high + after_row[target], opened, held + peak_row[target], ended + end_row[target])
                new = Label(target, arc, high, held, ended, opened, 0, label)
                heappush(queue, (bound, to_come, next(numbers), new))

    def good_path(self, piece_count: int) -> tuple[int, ...] | None:
        """A path of so many pieces that follows the bounds of the peak: good, not best."""
        node, path = 0, []
        for to_come in range(piece_count - 1, -1, -1):
            after_row, peak_row, _ = self._rest(to_come)
            arc = min(
                (arc for arc in self._leaving(node) if after_row[arc[0]] < self.bounds.never),
                key=lambda arc: max(arc[1], arc[3] + after_row[arc[0]], arc[2] + peak_row[arc[0]]),
                default=None,
            )
            if arc is None:
                return None
            node = arc[0]
            path.append(arc[-1])
        return tuple(path)

    def _first(self, least: int) -> Label:
        """The empty path. Every peak is `least` or more, so that what lies below it makes no difference."""
        return Label(0, -1, -self.bounds.never, 0, 0, least, 0, None)

    def _leaving(self, node: int, limit: int | None = None) -> list[Arc]:
        """The arcs that leave a node, or those of them that may be part of a path within a limit."""
        pieces, here = self.pieces, np.arange(self._starts[node], self._starts[node + 1])
        if limit is not None:
            here = here[self.least_through[here] <= limit]
        columns = (pieces.target, pieces.opening, pieces.before, pieces.peak, pieces.after, pieces.end, self.cost)
        return list(zip(*(column[here].tolist() for column in columns), here.tolist(), strict=True))

    def _cost_bounds(self, budget: int) -> tuple[CostBounds, Rest]:
        """Least sums of the cost, and of `after` with its sign turned, within a budget or a little more."""
        step = 1 << (max(1, abs(budget) // SHARED).bit_length() - 1)
        budget = -(-budget // step) * step
        if budget not in self._costs:
            known = CostBounds(self.pieces, (self.cost, -self.pieces.after), self.least_through <= budget)
            self._costs[budget] = known, cache(lambda to_come: tuple(known.row(to_come).tolist()))
        return self._costs[budget]

    def _search(
        self, piece_count: int | None, limit: int, rest: Rest, of_rest: Rest | None, no_cost: int = 0
    ) -> tuple[int, ...] | None:
        """The best path with a peak of at most `limit`: by cost where there are bounds of it, else by peak.

        Args:
            piece_count: pieces of the path; None: any number, and bounds are those of any number.
            limit: bytes.
            rest: bounds of what is still to come.
            of_rest: least sums of the cost, and of `after` with its sign turned, of what is still to come.
            no_cost: this and more in `of_rest`: there is no path.
        """
        step, end_node = 1 if piece_count is not None else 0, len(self.pieces.positions) - 1
        first_after, first_peak, first_end = (row[0] for row in rest(piece_count or 0))
        least = max(first_peak, first_end)
        if first_after >= self.bounds.never or least > limit:
            return None
        numbers = count()
        leaving = cache(partial(self._leaving, limit=limit))
        queue = [(least, piece_count or 0, next(numbers), self._first(least))]
        seen: dict[tuple[int, int], list[Label]] = {}
        while queue:
            _, to_come, _, label = heappop(queue)
            if label.node == end_node:
                return label.path()
            to_come -= step
            after_row, peak_row, end_row = rest(to_come)
            cost_row, spread_row = of_rest(to_come) if of_rest else (None, None)
            for target, opening, before, peak, after, end, cost, arc in leaving(label.node):
                high = max(label.high + after, label.held + peak)
                raised = high + after_row[target]
                if raised > limit:
                    continue
                held, ended = label.held + before, label.end + end
                opened = max(label.opened, label.held + opening)
                rank = max(raised, opened, held + peak_row[target], ended + end_row[target])
                if rank > limit:
                    continue
                spent = 0
                if cost_row is not None and spread_row is not None:
                    # What stays within the limit whatever comes makes no difference either.
                    opened, high = least, max(high, limit + spread_row[target])
                    spent = label.cost + cost
                    rank = spent + cost_row[target]
                    if rank >= no_cost:
                        continue
                new = Label(target, arc, high, held, ended, opened, spent, label)
                if _take_up(new, seen.setdefault((target, to_come), [])):
                    heappush(queue, (rank, to_come, next(numbers), new))
        return None


def _take_up(new: Label, alike: list[Label]) -> bool:
    """Add a label to those of its node and pieces to come, unless it is nowhere better than one of them."""
    if alike:
        if any(new.is_nowhere_better(other) for other in alike):
            return False
        alike[:] = [other for other in alike if not other.is_nowhere_better(new)]
    alike.append(new)
    return True


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
