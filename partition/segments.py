"""Gradient checkpointing of a whole chain as a graph of pieces: every way to cut it into segments.

A checkpointed segment keeps its input alone; its backward begins in its last unit, runs its forwards again and then its
backwards. The segments lie inside one another, F_1 F_2 .. head .. R_2 R_1, so that a segment's own highest point comes
when all later ones are over: the form of `pieces.py`, with `before` the bytes a forward leaves and `after` what is left
of forward and backward together. A run of units may also be kept, which recomputes nothing; two kept runs side by side
are one.

Source: Chen et al. 2016, arXiv 1604.06174, for the method; the boundaries are searched here instead of placed evenly.
"""

from collections.abc import Iterator, Sequence

from partition.pieces import Pieces, make_pieces
from partition.profile import NOTHING, CostProfile, Place, Stretch, UnitCost, join

CHECKPOINTED, KEPT = 0, 1


def checkpoint_segments(profile: CostProfile, kept: Sequence[UnitCost] = ()) -> Pieces:
    """The graph of all segments; time and memory O(units^2).

    Args:
        profile: costs of the chain as one module, its units as in checkpointed segments.
        kept: costs of the units where their activations are kept; empty: every unit is recomputed.
    """
    unit_count = len(profile.units)
    # Node 0 is the beginning; then, for every position, one behind each kind of segment; all meet in the last node.
    kinds = (CHECKPOINTED, KEPT) if kept else (CHECKPOINTED,)
    nodes = {(position, kind): 0 for position in (0,) for kind in kinds}
    positions = [0]
    for position in range(1, unit_count):
        for kind in kinds:
            nodes[position, kind] = len(positions)
            positions.append(position)
    nodes |= {(unit_count, kind): len(positions) for kind in kinds}
    positions.append(unit_count)
    rows = []
    for kind in kinds:
        units = kept if kind == KEPT else profile.units
        for start in range(unit_count):
            before = (CHECKPOINTED,) if kind == KEPT or start == 0 else kinds
            for stop, forward, backward in _grow(units, start, recompute=kind == CHECKPOINTED):
                row = _piece(profile, kind, range(start, stop), forward, backward)
                rows += [(nodes[start, other], nodes[stop, kind], *row) for other in before]
    names = ("source", "target", "opening", "before", "peak", "after", "end", "flops")
    return make_pieces(positions, profile.base_bytes, **dict(zip(names, zip(*rows, strict=True), strict=True)))


def _piece(
    profile: CostProfile, kind: int, units: range, forward: Stretch, backward: Stretch
) -> tuple[int, int, int, int, int, int]:
    """Opening, before, peak, after, end and added FLOPs of a segment."""
    head, parts = profile.head, [profile.units[unit] for unit in units]
    end = sum(part.gradient_bytes + part.update_bytes for part in parts)
    flops = sum(part.flops for part in parts) if kind == CHECKPOINTED else 0
    if units.start == 0:  # its backward is the last of all
        backward = join([backward, head.closing])
    if units.stop == len(profile.units):
        delta, peak = join([forward, head.forward, head.backward, backward])
        return peak, delta, peak, delta, end + head.gradient_bytes + head.update_bytes + head.kept_bytes, flops
    delta, peak = join([forward, backward])
    return forward[1], forward[0], forward[0] + backward[1], delta, end, flops


def _grow(units: Sequence[UnitCost], start: int, *, recompute: bool) -> Iterator[tuple[int, Stretch, Stretch]]:
    """Segments from unit `start` on: where each ends, its forward, and its backward with what is recomputed."""
    count = len(units)
    forward = again = backward = NOTHING
    for last in range(start, count):
        unit = units[last]
        first = Place.INSIDE if last > start else Place.MODULE if start == 0 else Place.SEGMENT
        side = (first, Place.MODULE if last == count - 1 else Place.SEGMENT)
        whole = [unit.backward[side], backward]
        if recompute:
            whole = [unit.resume[side], again, unit.recompute[side], *whole]
        yield last + 1, join([forward, unit.forward[side]]), join(whole)
        inside = (first, Place.INSIDE)
        forward = join([forward, unit.forward[inside]])
        again = join([again, unit.recompute[inside]]) if recompute else NOTHING
        backward = join([unit.backward[inside], backward])
