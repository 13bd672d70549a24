"""How gradient checkpointing cuts a chain: runs of units that are recomputed, and runs that are kept.

Written as sizes from first to last, a kept run behind a `k`: `8.8.12.k27`.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from partition.split import Split, SplitError, equal_split

BALANCED: Literal["balanced"] = "balanced"
"""Runs that a solver places, for the network and batch of a case."""
_KEPT = "k"


class Run(NamedTuple):
    """Consecutive units that are treated alike."""

    units: range
    """Indices in the chain."""
    kept: bool = False
    """Activations are kept; else the input alone, and the units run again in the backward."""


Runs = tuple[Run, ...]
Segments = int | Runs
"""Checkpointed segments: their number in every module, by the equal rule, or the runs of the whole chain."""


def find_runs(segments: Segments | Literal["balanced"] | None, units: range) -> Runs:
    """Runs of consecutive units of one module.

    Args:
        segments: None: everything is kept. A number is clipped to that of the units; runs of the chain are clipped to
            the module, and kept ones that meet are one.
        units: of the module.

    Raises:
        SplitError: the segments are still to be placed.
    """
    if segments is None:
        return (Run(units, kept=True),)
    if isinstance(segments, str):
        raise SplitError("segments that are 'balanced' are placed where a case is built: name their sizes")
    if isinstance(segments, int):
        parts = equal_split(len(units), min(segments, len(units))).modules()
        return tuple(Run(units[part.start : part.stop]) for part in parts)
    clipped = ((max(units.start, run.units.start), min(units.stop, run.units.stop), run.kept) for run in segments)
    inside = [(start, stop, kept) for start, stop, kept in clipped if start < stop]
    runs: list[Run] = []
    for kept, group in groupby(inside, key=lambda piece: piece[2]):
        pieces = list(group)
        if kept:
            runs.append(Run(range(pieces[0][0], pieces[-1][1]), kept=True))
        else:
            runs += [Run(range(start, stop)) for start, stop, _ in pieces]
    return tuple(runs)


def make_runs(sizes: Sequence[int], kept: Sequence[bool] = ()) -> Runs:
    """Runs of these sizes from unit 0 on; none is kept unless said so."""
    flags = kept or (False,) * len(sizes)
    return tuple(Run(units, flag) for units, flag in zip(Split(tuple(sizes)).modules(), flags, strict=True))


def parse_runs(text: str) -> Runs:
    """Runs from their notation, such as `8.8.12.k27`. Raises ValueError where it is none."""
    items = text.split(".")
    return make_runs([int(item.removeprefix(_KEPT)) for item in items], [item.startswith(_KEPT) for item in items])


def write_runs(runs: Runs) -> str:
    """Their notation; a single segment is the number 1."""
    if len(runs) == 1 and not runs[0].kept:
        return "1"
    return ".".join(f"{_KEPT if run.kept else ''}{len(run.units)}" for run in runs)


def check_runs(segments: Segments | Literal["balanced"] | None, unit_count: int) -> None:
    """Raise SplitError where runs are not those of a chain of so many units."""
    if isinstance(segments, tuple) and segments[-1].units.stop != unit_count:
        raise SplitError(
            f"segments {write_runs(segments)} sum to {segments[-1].units.stop}, but the chain has {unit_count} units"
        )
