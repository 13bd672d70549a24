"""The split solver: the best boundaries of a chain, with proof.

Neither the least peak in the number of modules nor a module's peak in its length is monotone, so that nothing here
bisects over them or stops at the first that fits. Solutions are exact: `search.py` leaves no path open that could be
better. Among equally good splits the one with the least added FLOPs is taken, then the most even one (least sum of
squared sizes).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from partition.bounds import Bounds, find_bounds, least_through
from partition.pieces import Pieces
from partition.search import Search, cost_of
from partition.split import Split, SplitError

NARROW_ABOVE = 100_000
"""Pieces in a graph from which those that cannot be of use are dropped before it is searched."""
NARROW_TO = 4
"""Times the even size that pieces may have in the first, quick look at such a graph."""


class BudgetError(SplitError):
    """No split fits into the memory asked for; `nearest_bytes` is the least that is enough."""

    def __init__(self, message: str, nearest_bytes: int) -> None:
        super().__init__(message)
        self.nearest_bytes = nearest_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A split with what it costs."""

    split: Split
    predicted_peak_bytes: int
    """Peak of the training step."""
    lower_bound_bytes: int
    """No split into as many modules has a lower peak."""
    optimal: bool
    """Whether no split serves the question better."""
    added_flops: int
    """Floating-point operations that auxiliary and context networks' forwards and recomputation add to the step."""
    module_bytes: tuple[int, ...]
    """Most bytes in memory while each module runs."""
    path: tuple[int, ...] = ()
    """Arcs of the graph, one per module."""


class Solver:
    """Answers questions about one graph of pieces; what they share is computed once."""

    def __init__(self, pieces: Pieces, most: int | None = None, cost_of: Callable[[Pieces], Any] = cost_of) -> None:
        """Prepare for up to `most` pieces; None for as many as there are units.

        `cost_of` gives every arc the number by which equally good splits, and those within a budget, are told apart.
        """
        self.pieces = pieces
        self.cost_of = cost_of
        self.most = min(most or pieces.unit_count, pieces.unit_count)

    @cached_property
    def bounds(self) -> Bounds:
        """Lower bounds for every number of pieces."""
        return find_bounds(self.pieces, self.most)

    @cached_property
    def search(self) -> Search:
        """The search in this graph."""
        return Search(self.pieces, self.bounds, self.cost_of(self.pieces))

    def least_peak(self, count: int) -> Solution:
        """The split into `count` modules of least peak.

        Raises:
            SplitError: there is no such split; says which number is nearest.
        """
        solver = self._narrow(count)
        least = solver.bounds.least(count) if 0 < count <= self.most else None
        if least is None:
            raise SplitError(self._no_such_count(count))
        pieces, search = solver.pieces, solver.search
        path = search.least_cost(count, least)
        if path is None:
            good = search.good_path(count) or ()
            path = search.least_peak(count, below=_peak(pieces, good)) or good
            least = _peak(pieces, path)
            path = search.least_cost(count, least) or path
        return _solution(pieces, path, least)

    def least_peaks(self) -> list[Solution]:
        """The splits of least peak for every number of modules there is, ascending."""
        return [self.least_peak(count) for count in self._counts()]

    def candidates(self, count: int) -> Iterator[Solution]:
        """Every split into `count` modules, none before one of lower predicted peak.

        What stops at a predicted peak that is no lower than the best simulated one has proven that best.
        """
        if 0 < count <= self.most:
            bound = self.bounds.least(count) or 0
            for path in self.search.paths(count):
                yield _solution(self.pieces, path, bound, optimal=_peak(self.pieces, path) == bound)

    def within_budget(self, count: int, budget_bytes: int) -> Solution | None:
        """The split into `count` modules with a peak of at most `budget_bytes` that adds least FLOPs; None: no such."""
        if not 0 < count <= self.most:
            return None
        path = self.search.least_cost(count, budget_bytes - self.pieces.base_bytes)
        return None if path is None else _solution(self.pieces, path, self.bounds.least(count) or 0)

    def fewest_modules(self, budget_bytes: int) -> Solution:
        """The fewest modules whose peak is at most `budget_bytes`; among their splits the one that adds least FLOPs.

        Raises:
            BudgetError: nothing fits; says what would.
        """
        for count in self._counts():
            solution = self.within_budget(count, budget_bytes)
            if solution is not None:
                return solution
        raise self._nothing_fits(budget_bytes)

    def least_overhead(self, budget_bytes: int) -> Solution:
        """The split of any number of modules with a peak of at most `budget_bytes` that adds least FLOPs.

        Raises:
            BudgetError: nothing fits; says what would.
        """
        best = self.search.least_cost_of_any(budget_bytes - self.pieces.base_bytes)
        if best is None:
            raise self._nothing_fits(budget_bytes)
        return _solution(self.pieces, best, self.bounds.least(len(best)) or 0)

    def evaluate(self, split: Split) -> Solution:
        """What a given split costs; optimal where its peak equals its lower bound.

        Raises:
            SplitError: it is none of this graph.
        """
        paths = self.pieces.paths(split)
        if not paths:
            raise SplitError(f"split {split} is none of this chain ({self.pieces.unit_count} units)")
        path = min(paths, key=partial(_peak, self.pieces))
        bound = self.bounds.least(split.module_count) or 0
        return _solution(self.pieces, path, bound, optimal=_peak(self.pieces, path) == bound)

    def _narrow(self, count: int) -> "Solver":
        """Where the graph is large, a solver without the pieces that no best path can have."""
        pieces = self.pieces
        if len(pieces.source) <= NARROW_ABOVE or not 0 < count <= self.most:
            return self
        positions = np.asarray(pieces.positions)
        small = positions[pieces.target] - positions[pieces.source] <= NARROW_TO * (pieces.unit_count // count + 1)
        quick = Solver(pieces.keep(small), count, self.cost_of)
        good = quick.search.good_path(count)
        if good is None:
            return self
        return Solver(pieces.keep(least_through(pieces) <= _peak(quick.pieces, good)), count, self.cost_of)

    def _counts(self) -> list[int]:
        return [count for count in range(1, self.most + 1) if self.bounds.least(count) is not None]

    def _no_such_count(self, count: int) -> str:
        nearest = min(self._counts(), key=lambda there: abs(there - count))
        return f"no split into {count} modules (units: {self.pieces.unit_count}); the nearest number is {nearest}"

    def _nothing_fits(self, budget_bytes: int) -> BudgetError:
        best = min(self.least_peaks(), key=lambda solution: solution.predicted_peak_bytes)
        return BudgetError(
            f"no split fits into {budget_bytes} bytes; the least peak is {best.predicted_peak_bytes} bytes, with "
            f"{best.split.module_count} modules",
            best.predicted_peak_bytes,
        )


def _peak(pieces: Pieces, path: Sequence[int]) -> int:
    """Peak of a path without the base."""
    return max(pieces.peaks(path)) - pieces.base_bytes


def _solution(pieces: Pieces, path: Sequence[int], bound: int, *, optimal: bool = True) -> Solution:
    peaks = pieces.peaks(path)
    return Solution(
        split=pieces.split(path),
        predicted_peak_bytes=max(peaks),
        lower_bound_bytes=pieces.base_bytes + bound,
        optimal=optimal,
        added_flops=sum(int(pieces.flops[arc]) for arc in path),
        module_bytes=peaks[:-1],
        path=tuple(path),
    )
