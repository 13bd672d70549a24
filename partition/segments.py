"""Gradient checkpointing of a whole chain as a graph of pieces: every way to cut it into runs.

A checkpointed segment keeps its input alone; its backward begins in its last unit, runs its forwards again and then its
backwards. The segments lie inside one another, F_1 F_2 .. head .. R_2 R_1, so that a segment's own highest point comes
when all later ones are over: the form of `pieces.py`, with `before` the bytes a forward leaves and `after` what is left
of forward and backward together. A run of units may also be kept, which recomputes nothing; two kept runs side by side
are one. What a unit does next to a boundary depends on whether the run behind that is kept, so that a node says it of
both sides.

Source: Chen et al. 2016, arXiv 1604.06174, for the method; the boundaries are searched here instead of placed evenly.
"""

from collections.abc import Iterator
from itertools import product

from partition.pieces import Pieces, make_pieces
from partition.profile import NOTHING, CostProfile, Place, Stretch, join
from partition.runs import Run

_COLUMNS = ("opening", "before", "peak", "after", "end", "flops")


def checkpoint_segments(profile: CostProfile) -> tuple[Pieces, tuple[Run, ...]]:
    """The graph of all ways to cut a chain into runs; time and memory O(units^2).

    Args:
        profile: costs of the chain as one module; without `kept` every unit is recomputed.

    Returns:
        The graph, and the run that each of its arcs is.
    """
    kinds = (False, True) if profile.kept else (False,)  # whether a run is kept
    sides = [pair for pair in product(kinds, kinds) if pair != (True, True)]
    count = len(profile.units)
    positions = [0, *(place for place in range(1, count) for _ in sides), count]
    nodes = {
        (place, pair): 1 + (place - 1) * len(sides) + side
        for place in range(1, count)
        for side, pair in enumerate(sides)
    }
    nodes |= {(end, pair): (len(positions) - 1) * (end > 0) for end in (0, count) for pair in sides}
    sources, targets, rows, runs = [], [], [], []
    # From the beginning one arc leaves for each run, whatever one may imagine before it.
    leaving = [(number, place, pair) for (place, pair), number in nodes.items() if place and place < count]
    leaving += [(0, 0, (False, kept)) for kept in kinds]
    for number, start, (before, kept) in sorted(leaving):
        for run, behind, row in _grow(profile, start, before, kept, kinds):
            sources.append(number)
            targets.append(nodes[run.units.stop, (kept, behind)])
            rows.append(row)
            runs.append(run)
    columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    return make_pieces(positions, profile.base_bytes, source=sources, target=targets, **columns), tuple(runs)


def _grow(
    profile: CostProfile, start: int, before: bool, kept: bool, kinds: tuple[bool, ...]
) -> Iterator[tuple[Run, bool, tuple[int, ...]]]:
    """Runs from unit `start` on with what is behind them, and their columns."""
    costs, count = profile.kept if kept else profile.units, len(profile.units)
    forward = again = backward = NOTHING
    for last in range(start, count):
        unit = costs[last]
        first = Place.INSIDE if last > start else Place.MODULE if start == 0 else _beside(kept=before)
        run = Run(range(start, last + 1), kept)
        for behind in kinds if last < count - 1 and not kept else (False,):
            side = (first, _beside(kept=behind) if last < count - 1 else Place.MODULE)
            whole = [unit.backward[side], backward]
            if not kept:
                whole = [unit.resume[side], again, unit.recompute[side], *whole]
            yield run, behind, _columns(profile, run, join([forward, unit.forward[side]]), join(whole))
        if last < count - 1:
            inside = (first, Place.INSIDE)
            forward = join([forward, unit.forward[inside]])
            again = NOTHING if kept else join([again, unit.recompute[inside]])
            backward = join([unit.backward[inside], backward])


def _beside(*, kept: bool) -> Place:
    return Place.KEPT if kept else Place.SEGMENT


def _columns(profile: CostProfile, run: Run, forward: Stretch, backward: Stretch) -> tuple[int, ...]:
    """Opening, before, peak, after, end and added FLOPs of a run."""
    head, parts = profile.head, [profile.units[unit] for unit in run.units]
    end = sum(part.gradient_bytes + part.update_bytes for part in parts)
    flops = 0 if run.kept else sum(part.flops for part in parts)
    if run.units.start == 0:  # its backward is the last of all
        backward = join([backward, head.closing])
    if run.units.stop < len(profile.units):
        delta, peak = join([forward, backward])
        return forward[1], forward[0], forward[0] + backward[1], delta, end, flops
    adding = profile.adding if any(unit.extra_loss for unit in profile.units) else NOTHING
    delta, peak = join([forward, head.forward, adding, head.backward, backward])
    end += head.gradient_bytes + head.update_bytes + head.kept_bytes
    return peak, delta, peak, delta, end, flops
