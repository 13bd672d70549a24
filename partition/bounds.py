"""Lower bounds of what the rest of a path costs, for every node and every number of pieces to come.

Each table takes the best of one quantity by itself, so that no path is better than its bounds. A pass over the arcs
gives the row of one piece more; numpy does the arithmetic.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from partition.pieces import BYTES, EXACT_BELOW, Pieces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Tables [pieces to come][node] of least values; `never` and more where no path has so many pieces."""

    after: list[list[int]]
    """Least sum of `after`."""
    peak: list[list[int]]
    """Least of the highest points, were nothing in memory before."""
    end: list[list[int]]
    """Least sum of `end`."""
    never: int

    def least(self, count: int) -> int | None:
        """Without the base, no path of `count` pieces has a lower peak; None where there is no such path."""
        if count >= len(self.after) or self.after[count][0] >= self.never:
            return None
        return max(self.peak[count][0], self.end[count][0])


class Rows:
    """Makes rows of a table: least values over the arcs that leave each node."""

    def __init__(self, pieces: Pieces, columns: tuple[Any, ...]) -> None:
        self.nodes, self.starts = np.unique(pieces.source, return_index=True)
        self.count = len(pieces.positions)
        self.dtype: Any = object if any(column.dtype == object for column in columns) else np.int64
        self.never = 2 * EXACT_BELOW
        """Larger than any sum; half of what stands in rows, so that nothing added to that comes down to it."""
        if self.dtype is object:
            self.never = 2 * self.count * max([1, *(int(abs(c).max()) for c in columns if c.size)]) * len(columns)

    def last(self) -> Any:
        """The row with no piece to come: 0 at the last node."""
        row = np.full(self.count, 2 * self.never, dtype=self.dtype)
        row[-1] = 0
        return row

    def least(self, values: Any) -> Any:
        """The row of values (arcs,)."""
        row = np.full(self.count, 2 * self.never, dtype=self.dtype)
        if values.size:
            row[self.nodes] = np.minimum(np.minimum.reduceat(values, self.starts), 2 * self.never)
        return row


def find_bounds(pieces: Pieces, most: int) -> Bounds:
    """Bounds for up to `most` pieces; time O(most * arcs), memory O(most * nodes)."""
    rows = Rows(pieces, tuple(getattr(pieces, name) for name in BYTES))
    after, end, peak = rows.last(), rows.last(), rows.last()
    peak[-1] = -rows.never  # no piece to come, no highest point
    tables = [(after, peak, end)]
    for _ in range(most):
        rest = after[pieces.target]
        own = np.maximum(pieces.opening, pieces.peak + rest)
        peak = rows.least(np.maximum(own, pieces.before + peak[pieces.target]))
        after, end = rows.least(pieces.after + rest), rows.least(pieces.end + end[pieces.target])
        tables.append((after, peak, end))
    after, peak, end = ([row.tolist() for row in column] for column in zip(*tables, strict=True))
    return Bounds(after=after, peak=peak, end=end, never=rows.never)


def least_through(pieces: Pieces) -> Any:
    """For every arc, (arcs,), a peak that no path through it is below, whatever its number of pieces."""
    rows = Rows(pieces, tuple(getattr(pieces, name) for name in BYTES))
    held = np.full(rows.count, 2 * rows.never, dtype=rows.dtype)
    held[0] = 0
    rest = np.zeros(rows.count, dtype=rows.dtype)
    leaving = [slice(start, stop) for start, stop in pairwise([*rows.starts, len(pieces.source)])]
    for node, arcs in zip(rows.nodes, leaving, strict=True):
        np.minimum.at(held, pieces.target[arcs], held[node] + pieces.before[arcs])
    for node, arcs in zip(rows.nodes[::-1], reversed(leaving), strict=True):
        rest[node] = (pieces.after[arcs] + rest[pieces.target[arcs]]).min()
    return held[pieces.source] + np.maximum(pieces.opening, pieces.peak + rest[pieces.target])


def find_cost_bounds(pieces: Pieces, cost: Any, allowed: Any, most: int) -> tuple[list[list[int]], int]:
    """Least sums of a cost (arcs,) over allowed arcs, for up to `most` pieces, and what stands for no path."""
    kept, cost = pieces.keep(allowed), cost[allowed]
    rows = Rows(kept, (cost,))
    row = rows.last()
    table = [row]
    for _ in range(most):
        row = rows.least(cost + row[kept.target])
        table.append(row)
    return [row.tolist() for row in table], rows.never
