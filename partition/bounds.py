"""Lower bounds of what the rest of a path costs, for every node and every number of pieces to come.

Each table takes the best of one quantity by itself, so that no path is better than its bounds. A pass over the arcs
gives the row of one piece more; numpy does the arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from partition.pieces import BYTES, EXACT_BELOW, Pieces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Least values of what is still to come; `never` and more where no path has so many pieces."""

    table: Any
    """(pieces to come, 3, nodes): least sum of `after`; least of the highest points, were nothing in memory before;
    least sum of `end`."""
    never: int

    def least(self, count: int) -> int | None:
        """Without the base, no path of `count` pieces has a lower peak; None where there is no such path."""
        if count >= len(self.table):
            return None
        after, peak, end = (int(least) for least in self.table[count, :, 0])
        return None if after >= self.never else max(peak, end)


class Rows:
    """Makes rows of tables: least values over the arcs that leave each node."""

    def __init__(self, source: Any, count: int, columns: Sequence[Any]) -> None:
        """Prepare for arcs that leave the nodes `source`, ascending, of `count` nodes, with values of these columns."""
        self.nodes, self.starts = np.unique(source, return_index=True)
        self.count = count
        self.dtype: Any = object if any(column.dtype == object for column in columns) else np.int64
        self.never = 2 * EXACT_BELOW
        """Larger than any sum; half of what stands in rows, so that nothing added to that comes down to it."""
        if self.dtype is object:
            self.never = 2 * self.count * max([1, *(int(abs(c).max()) for c in columns if c.size)]) * len(columns)

    def last(self, *shape: int) -> Any:
        """Rows with no piece to come, (*shape, nodes): 0 at the last node."""
        row = np.full((*shape, self.count), 2 * self.never, dtype=self.dtype)
        row[..., -1] = 0
        return row

    def least(self, values: Any) -> Any:
        """The rows of values (.., arcs)."""
        row = np.full((*values.shape[:-1], self.count), 2 * self.never, dtype=self.dtype)
        if values.size:
            least = np.minimum.reduceat(values, self.starts, axis=-1)
            row[..., self.nodes] = np.minimum(least, 2 * self.never)
        return row


def find_bounds(pieces: Pieces, most: int) -> Bounds:
    """Bounds for up to `most` pieces; time O(most * arcs), memory O(most * nodes)."""
    rows = Rows(pieces.source, len(pieces.positions), [getattr(pieces, name) for name in BYTES])
    row = rows.last(3)
    row[1, -1] = -rows.never  # no piece to come, no highest point
    table = [row]
    for _ in range(most):
        after, peak, end = row[:, pieces.target]
        own = np.maximum(pieces.opening, pieces.peak + after)
        highest = np.maximum(own, pieces.before + peak)
        row = np.stack([rows.least(values) for values in (pieces.after + after, highest, pieces.end + end)])
        table.append(row)
    return Bounds(table=np.stack(table), never=rows.never)


def least_through(pieces: Pieces) -> Any:
    """For every arc, (arcs,), a peak that no path through it is below, whatever its number of pieces."""
    rows = Rows(pieces.source, len(pieces.positions), [getattr(pieces, name) for name in BYTES])
    held = np.full(rows.count, 2 * rows.never, dtype=rows.dtype)
    held[0] = 0
    rest = np.zeros(rows.count, dtype=rows.dtype)
    leaving = [slice(start, stop) for start, stop in pairwise([*rows.starts, len(pieces.source)])]
    for node, arcs in zip(rows.nodes, leaving, strict=True):
        np.minimum.at(held, pieces.target[arcs], held[node] + pieces.before[arcs])
    for node, arcs in zip(rows.nodes[::-1], reversed(leaving), strict=True):
        rest[node] = (pieces.after[arcs] + rest[pieces.target[arcs]]).min()
    return held[pieces.source] + np.maximum(pieces.opening, pieces.peak + rest[pieces.target])


class CostBounds:
    """Least sums of costs (arcs,) over the arcs of a mask, each cost by itself."""

    def __init__(self, pieces: Pieces, costs: Sequence[Any], allowed: Any) -> None:
        """Begin with the row for no piece to come."""
        self._target = pieces.target[allowed]
        self._rows = Rows(pieces.source[allowed], len(pieces.positions), costs)
        self._values = np.stack([cost[allowed] for cost in costs])
        self._table = [self._rows.last(len(costs))]
        self.never = self._rows.never
        """This and more: there is no path."""

    def row(self, to_come: int) -> Any:
        """Least sums (costs, nodes) for so many pieces to come."""
        while len(self._table) <= to_come:
            self._table.append(self._rows.least(self._values + self._table[-1][:, self._target]))
        return self._table[to_come]
