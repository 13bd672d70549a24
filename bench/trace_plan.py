"""Which splits of a chain to trace, so that every piece is seen under every condition. Pure integers.

What a unit does to memory depends on its place towards both ends of its module (`partition.profile.Place`), what a
context network does on the shapes it connects and on whether the last module follows.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from partition import Split
from partition.memory import find_segments, find_sides, next_sources
from partition.profile import Place, Sides, Sources


class UnitName(NamedTuple):
    """A unit under one condition."""

    unit: int
    sides: Sides


class ContextName(NamedTuple):
    """Context before a module."""

    shape: int
    """Of the module's input."""
    sources: Sources
    final: bool
    """The module is the last, where sources are kept for later ones."""


class ModuleNames(NamedTuple):
    """The pieces of one module of a split."""

    units: range
    unit_names: list[UnitName]
    context: ContextName | None


def number_shapes(shapes: Sequence[Hashable]) -> tuple[int, ...]:
    """Shapes as numbers, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(shape, len(numbers)) for shape in shapes)


def name_pieces(split: Split, segments: int | None, shapes: Sequence[int], depth: int) -> list[ModuleNames]:
    """Names of the pieces of every module.

    Args:
        split: the local modules.
        segments: checkpointed segments in every module.
        shapes: number of the shape of every unit's input.
        depth: how many earlier module inputs context reads.
    """
    names, sources = [], ()
    ranges = split.modules()
    for k, units in enumerate(ranges):
        final = depth > 0 and k == split.module_count - 1
        sides = find_sides(find_segments(segments, len(units)), Place.FINAL if final else Place.MODULE)
        unit_names = [UnitName(unit, side) for unit, side in zip(units, sides, strict=True)]
        context = ContextName(shapes[units.start], sources, final) if k else None
        names.append(ModuleNames(units, unit_names, context))
        sources = next_sources(shapes, sources, units.start, depth)
    return names


def context_names(shapes: Sequence[int], depth: int) -> dict[tuple[int, Sources], ContextName]:
    """Context before every unit with every combination of sources, by (unit, sources), the last module following."""
    reachable: set[Sources] = {()}
    names = {}
    for unit, shape in enumerate(shapes):
        if unit:
            names |= {(unit, sources): ContextName(shape, sources, final=True) for sources in reachable}
        # Behind the first module there is a source; the empty one belongs to the beginning alone.
        reached = {next_sources(shapes, sources, unit, depth) for sources in reachable}
        reachable = reached if unit == 0 else reachable | reached
    return names


def plan_traces(
    shapes: Sequence[int], like: Sequence[int], depth: int, segments: int | None, *, one_module: bool
) -> list[tuple[Split, int | None]]:
    """Splits of a short chain and numbers of checkpointed segments to trace; the first has every unit as a module.

    Args:
        shapes: number of the shape of every unit's input in the short chain.
        like: for every unit of the chain, the one that stands for it in the short chain.
        depth: how many earlier module inputs context reads.
        segments: checkpointed segments in every module; None: none.
        one_module: the method has no local modules, and the short chain is the chain.
    """
    if one_module:
        return [(Split((len(shapes),)), segments)]
    missing: set[UnitName | ContextName] = set(_unit_names(like, depth, segments))
    if depth:
        for (unit, _), name in context_names([shapes[unit] for unit in like], depth).items():
            missing |= {name} if unit == len(like) - 1 else {name, name._replace(final=False)}
    plan = []
    for split, number in _candidates(shapes, depth, segments):
        names = name_pieces(split, number, shapes, depth)
        seen = {name for module in names for name in (*module.unit_names, module.context) if name is not None}
        if missing & seen or not plan:
            plan.append((split, number))
            missing -= seen
    if missing:
        raise AssertionError(f"no split that is tried has {missing}")
    # Of one more split every piece is known already: what it does is the proof.
    return [*plan, (_every(len(shapes), 3, 0), segments)]


def _unit_names(like: Sequence[int], depth: int, segments: int | None) -> Iterator[UnitName]:
    """Every unit of the short chain in every place that some module of the chain gives to one of its likes."""
    count = len(like)
    changes: dict[Sides, list[int]] = {}
    for size in range(1, count + 1):
        layout = find_segments(segments, size)
        for place, sides in enumerate(find_sides(layout)):
            # Modules of this size begin with unit 0 .. count - size; where it matters, the last of them is final.
            change = changes.setdefault(sides, [0] * (count + 1))
            change[place] += 1
            change[place + count - size + (0 if depth else 1)] -= 1
        if depth:
            for place, sides in enumerate(find_sides(layout, Place.FINAL)):
                change = changes.setdefault(sides, [0] * (count + 1))
                change[place + count - size] += 1
                change[place + count - size + 1] -= 1
    for sides, change in changes.items():
        for unit, modules in zip(like, accumulate(change), strict=False):
            if modules:
                yield UnitName(unit, sides)


def _candidates(shapes: Sequence[int], depth: int, segments: int | None) -> Iterator[tuple[Split, int | None]]:
    """Splits that show many pieces first, then ones that show few."""
    count = len(shapes)
    grids = [_every(count, 1, 0), Split((count,)), _every(count, 2, 0), _every(count, 2, 1), _every(count, 3, 0)]
    if depth:
        grids += _with_sources(shapes, depth)
    if segments is None:
        yield from ((split, None) for split in grids)
        return
    grids += [Split((first, count - first)) for first in range(1, count)]
    for number in range(1, count + 1):
        yield from ((split, number) for split in grids)


def _every(count: int, size: int, start: int) -> Split:
    """Modules of one size, the first and the last with what is left."""
    ends = sorted({0, *range(start, count, size), count})
    return Split(tuple(stop - begin for begin, stop in pairwise(ends)))


def _with_sources(shapes: Sequence[int], depth: int) -> Iterator[Split]:
    """Splits whose last or last but one module begins with every unit after every combination of sources."""
    count = len(shapes)
    by_unit: dict[int, list[Sources]] = {}
    for unit, sources in context_names(shapes, depth):
        by_unit.setdefault(unit, []).append(sources)
    for turn in range(max(map(len, by_unit.values()))):
        for unit, known in by_unit.items():
            starts = _find_starts(shapes, unit, sorted(known)[(unit + turn) % len(known)], depth)
            if starts is not None:
                for ends in ([*starts, unit, count], [*starts, unit, unit + 1, count]):
                    if ends[-2] < count:
                        yield Split(tuple(stop - begin for begin, stop in pairwise(ends)))


def _find_starts(shapes: Sequence[int], unit: int, sources: Sources, depth: int) -> list[int] | None:
    """First units of modules before `unit` whose inputs have the shapes of `sources`; None where there are none."""
    starts: list[int] = []
    for shape in reversed(sources):
        after = starts[-1] + 1 if starts else 0
        start = next((u for u in range(after, unit) if shapes[u] == shape), None)
        if start is None:
            return None
        starts.append(start)
    if starts[0] == 0:
        return starts
    return [0, *starts] if len(sources) == depth else None
