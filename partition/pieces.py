"""What a chain can be cut into, and what a way of cutting it costs: integers and one formula.

The pieces of a chain are the arcs of a graph. A path from its first node to its last is one way to cut the chain: its
arcs are local modules, or segments of gradient checkpointing. Each piece k has five numbers of bytes, and the peak of a
path is

    base + max( max over k of  before_1 + .. + before_{k-1} + max(opening_k, peak_k + after_{k+1} + .. + after_K),
                end_1 + .. + end_K )

`before` is what later pieces find in memory on account of a piece, `after` is what earlier pieces find on account of
it, `opening` and `peak` are its own highest points, and `end` is what it holds while the optimizer runs. Local modules
(`local_modules.py`) and checkpointed segments (`segments.py`) are both of this form, so that one solver serves both.
Nodes may say more than a position: where the cost of a piece depends on pieces before it, there is a node for each
position and each fact about them that matters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from partition.split import Split

EXACT_BELOW = 2**59
"""Where sums stay below this, numpy's integers of 64 bits are exact; beyond it Python's are used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """A graph of pieces; arrays (arcs,) of integers."""

    positions: tuple[int, ...]
    """Node -> number of units before it; 0 at the first node, all units at the last."""
    base_bytes: int
    """Held all through the step, however the chain is cut."""
    source: Any
    """Node in which a piece begins; ascending."""
    target: Any
    """Node in which it ends; later than the source."""
    opening: Any
    """Bytes of its first highest point, before later pieces run."""
    before: Any
    """Bytes that later pieces find in memory on account of this one."""
    peak: Any
    """Bytes of its highest point, to which later pieces add what they leave."""
    after: Any
    """Bytes that the highest points of earlier pieces find in memory on account of this one."""
    end: Any
    """Bytes it holds while the optimizer runs, the optimizer's temporaries included."""
    flops: Any
    """Floating-point operations it adds to the step."""

    @property
    def unit_count(self) -> int:
        """Number of units of the chain."""
        return self.positions[-1]

    def split(self, path: Iterable[int]) -> Split:
        """Sizes of the pieces of a path of arcs."""
        return Split(tuple(self.positions[self.target[arc]] - self.positions[self.source[arc]] for arc in path))

    def peaks(self, path: Sequence[int]) -> tuple[int, ...]:
        """Bytes in memory at the highest point of every piece of a path, and last those in the optimizer."""
        later = sum(int(self.after[arc]) for arc in path)
        earlier, peaks = self.base_bytes, []
        for arc in path:
            later -= int(self.after[arc])
            peaks.append(earlier + max(int(self.opening[arc]), int(self.peak[arc]) + later))
            earlier += int(self.before[arc])
        return (*peaks, self.base_bytes + sum(int(self.end[arc]) for arc in path))

    def paths(self, split: Split) -> list[tuple[int, ...]]:
        """Every path whose pieces have these sizes: one, where a piece is known by its units."""
        paths: list[tuple[int, tuple[int, ...]]] = [(0, ())]
        for end in split.last_units:
            paths = [
                (int(self.target[arc]), (*path, arc))
                for node, path in paths
                for arc in range(*np.searchsorted(self.source, [node, node + 1]))
                if self.positions[self.target[arc]] == end + 1
            ]
        return [path for node, path in paths if node == len(self.positions) - 1]

    def keep(self, wanted: Any) -> "Pieces":
        """The same graph with the arcs of a mask alone."""
        columns = {name: getattr(self, name)[wanted] for name in COLUMNS}
        return Pieces(positions=self.positions, base_bytes=self.base_bytes, **columns)


def of_sizes(pieces: Pieces, sizes: Iterable[int]) -> Any:
    """Which arcs have one of these numbers of units, (arcs,)."""
    positions = np.asarray(pieces.positions)
    return np.isin(positions[pieces.target] - positions[pieces.source], list(sizes))


def with_one_of(pieces: Pieces, wanted: Any) -> Pieces:
    """The graph whose paths are those with at least one arc of a mask: a second copy of it, entered by such an arc."""
    count = len(pieces.positions)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    # The first copy has no way to the end, the second none from the beginning.
    for mask, source_shift, target_shift in ((~wanted, 0, 0), (wanted, 0, count), (slice(None), count, count)):
        for name in COLUMNS:
            shift = {"source": source_shift, "target": target_shift}.get(name, 0)
            columns[name].append(getattr(pieces, name)[mask] + shift)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    inside = (joined["target"] != count - 1) & (joined["source"] != count)
    nodes = [*range(count - 1), *range(count + 1, 2 * count)]
    order = sorted(nodes, key=lambda node: (pieces.positions[node % count], node))
    number = np.zeros(2 * count, dtype=np.int64)
    number[order] = np.arange(len(order))
    for name in ("source", "target"):
        joined[name] = number[joined[name]]
    columns_kept = {name: column[inside] for name, column in joined.items()}
    return make_pieces([pieces.positions[node % count] for node in order], pieces.base_bytes, **columns_kept)


COLUMNS = tuple(field.name for field in fields(Pieces))[2:]
BYTES = COLUMNS[2:-1]


def make_pieces(positions: Sequence[int], base_bytes: int, **columns: Any) -> Pieces:
    """Pieces from their columns, in any order.

    Args:
        positions: node -> units before it.
        base_bytes: held all through the step.
        columns: the arrays of `Pieces`, or sequences of integers of any size.
    """
    arrays = {name: np.asarray(columns[name]) for name in COLUMNS}
    order = np.argsort(arrays["source"].astype(np.int64), kind="stable")
    wide = not _fits([arrays[name] for name in BYTES], 8 * len(positions))
    for name, array in arrays.items():
        exact = object if (wide and name in BYTES) or not _fits([array], 1) else np.int64
        arrays[name] = array.astype(exact)[order]
    return Pieces(positions=tuple(positions), base_bytes=int(base_bytes), **arrays)


def _fits(arrays: Sequence[Any], count: int) -> bool:
    """Whether sums of so many of these numbers are exact in 64 bits."""
    return all(abs(int(bound)) * count < EXACT_BELOW for a in arrays if a.size for bound in (a.max(), a.min()))
