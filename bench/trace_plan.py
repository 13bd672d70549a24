"""Which splits of a chain to trace, so that every piece is seen under every condition. Pure integers.

What a unit does to memory depends on its place towards both ends of its module (`partition.profile.Place`), what a
context network does on the shapes it connects and on whether the last module follows.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, pairwise, product
from typing import NamedTuple

from partition import Split
from partition.memory import find_sides, next_sources
from partition.profile import Place, Sides, Sources
from partition.runs import Run, Runs, Segments, find_runs


class PlanError(ValueError):
    """No split that is tried shows a piece that some split of the chain has."""


class UnitName(NamedTuple):
    """A unit under one condition."""

    unit: int
    sides: Sides
    kept: bool = False
    """Its activations are kept, between checkpointed segments."""


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


def name_pieces(split: Split, segments: Segments | None, shapes: Sequence[int], depth: int) -> list[ModuleNames]:
    """Names of the pieces of every module.

    Args:
        split: the local modules.
        segments: checkpointed segments, as in `partition.runs`.
        shapes: number of the shape of every unit's input.
        depth: how many earlier module inputs context reads.
    """
    names, sources = [], ()
    ranges = split.modules()
    for k, units in enumerate(ranges):
        final = depth > 0 and k == split.module_count - 1
        unit_names = _names_in(units, segments, Place.FINAL if final else Place.MODULE)
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


def _names_in(units: range, segments: Segments | None, first: Place) -> list[UnitName]:
    """Names of the units of a module, the first of which has this place."""
    runs = find_runs(segments, units)
    flags = [run.kept and segments is not None for run in runs for _ in run.units]
    return [UnitName(*name) for name in zip(units, find_sides(runs, first), flags, strict=True)]


def plan_traces(
    shapes: Sequence[int], like: Sequence[int], depth: int, segments: Segments | str | None, *, one_module: bool
) -> list[tuple[Split, Segments | None]]:
    """Splits of a short chain and checkpointed segments to trace.

    Args:
        shapes: number of the shape of every unit's input in the short chain.
        like: for every unit of the chain, the one that stands for it in the short chain.
        depth: how many earlier module inputs context reads.
        segments: checkpointed segments; None: none.
        one_module: the method has no local modules; unless its segments are to be placed, the short chain is the chain.

    Raises:
        PlanError: some piece is not shown by what is tried.
    """
    if one_module and not isinstance(segments, str):
        return [(Split((len(shapes),)), segments)]
    missing: set[UnitName | ContextName] = set(
        _names_of_any(like, depth, one_module=one_module)
        if isinstance(segments, str)
        else _names_of_given(like, depth, segments)
        if isinstance(segments, tuple)
        else _unit_names(like, depth, segments)
    )
    if depth:
        for (unit, _), name in context_names([shapes[unit] for unit in like], depth).items():
            missing |= {name} if unit == len(like) - 1 else {name, name._replace(final=False)}
    plan: list[tuple[Split, Segments | None]] = []
    for split, tried in _candidates(shapes, depth, segments, one_module=one_module):
        names = name_pieces(split, tried, shapes, depth)
        seen = {name for module in names for name in (*module.unit_names, module.context) if name is not None}
        if missing & seen or not plan:
            plan.append((split, tried))
            missing -= seen
    if missing:
        raise PlanError(f"no split that is tried has {missing}")
    # Of one more split every piece is known already: what it does is the proof.
    proof = Split((len(shapes),)) if one_module else _every(len(shapes), 3, 0)
    return [*plan, (proof, 2 if isinstance(segments, str | tuple) else segments)]


def _names_of_given(like: Sequence[int], depth: int, runs: Runs) -> Iterator[UnitName]:
    """Every unit of the short chain as in given runs of the chain, whatever its modules."""
    count = len(like)
    for start in range(count):
        for stop in range(start + 1, count + 1):
            first = Place.FINAL if depth and stop == count else Place.MODULE
            for name in _names_in(range(start, stop), runs, first):
                yield name._replace(unit=like[name.unit])


def _names_of_any(like: Sequence[int], depth: int, *, one_module: bool) -> Iterator[UnitName]:
    """Every unit of the short chain as in any runs; a chain that is one module may keep runs between its segments."""
    last = len(like) - 1
    beside = [Place.INSIDE, Place.SEGMENT, *([Place.KEPT] if one_module else [])]
    for unit, short in enumerate(like):
        for sides in product([*beside, Place.FINAL if depth else Place.MODULE], [*beside, Place.MODULE]):
            if _may_stand(unit, sides, last, one_module=one_module):
                yield UnitName(short, sides)
                if one_module and Place.KEPT not in sides:
                    yield UnitName(short, sides, kept=True)
        for side in (Place.MODULE, *beside) if depth else ():
            # First of a module that another follows, with as many units behind it as its place asks for.
            if unit < last - (side != Place.MODULE):
                yield UnitName(short, (Place.MODULE, side))


def _may_stand(unit: int, sides: Sides, last: int, *, one_module: bool) -> bool:
    """Whether a unit can have these places."""
    first, end = sides
    begins, ends = first in (Place.MODULE, Place.FINAL), end == Place.MODULE
    if first == Place.FINAL and ends:
        return unit == last  # the last module ends with the last unit
    if one_module:
        return begins == (unit == 0) and ends == (unit == last)
    return (begins or unit > 0) and (ends or unit < last)


def _unit_names(like: Sequence[int], depth: int, segments: int | None) -> Iterator[UnitName]:
    """Every unit of the short chain in every place that some module of the chain gives to one of its likes."""
    count = len(like)
    changes: dict[Sides, list[int]] = {}
    for size in range(1, count + 1):
        layout = find_runs(segments, range(size))
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


def _candidates(
    shapes: Sequence[int], depth: int, segments: Segments | str | None, *, one_module: bool
) -> Iterator[tuple[Split, Segments | None]]:
    """Splits that show many pieces first, then ones that show few."""
    count = len(shapes)
    if isinstance(segments, str | tuple):
        yield from _runs_of_every_kind(shapes, depth, one_module=one_module)
        return
    grids = [_every(count, 1, 0), Split((count,)), _every(count, 2, 0), _every(count, 2, 1), _every(count, 3, 0)]
    if depth:
        grids += _with_sources(shapes, depth)
    if segments is None:
        yield from ((split, None) for split in grids)
        return
    grids += [Split((first, count - first)) for first in range(1, count)]
    for number in range(1, count + 1):
        yield from ((split, number) for split in grids)


_PATTERNS = ("c", "cc", "ccc", "k", "kc", "kkc", "kkkc", "kcc", "kccc", "kc c")
"""Runs that repeat, a letter per unit, `c` checkpointed and `k` kept; checkpointed runs end at a space or the end."""


def _runs_of_every_kind(
    shapes: Sequence[int], depth: int, *, one_module: bool
) -> Iterator[tuple[Split, Segments | None]]:
    """Splits with patterns of runs that begin anew in every module, at every place of the pattern."""
    count = len(shapes)
    splits = [Split((count,))]
    if not one_module:
        splits = [_every(count, 1, 0), *(_every(count, 3, start) for start in range(3)), *splits]
        splits += [Split((first, count - first)) for first in range(1, count)] if depth else []
        splits += _with_sources(shapes, depth) if depth else []
    for split in splits:
        for pattern in _PATTERNS:
            letters = [*pattern.replace(" ", "")]
            boundaries = {len(part) for part in pattern.split(" ")[:-1]} | {0}
            for phase in range(len(letters)):
                runs: list[Run] = []
                for units in split.modules():
                    runs += _tile(units, letters, boundaries, phase)
                yield split, tuple(runs)


def _tile(units: range, letters: Sequence[str], boundaries: set[int], phase: int) -> Iterator[Run]:
    """Runs of a module that follow a pattern from its `phase` on."""
    start = units.start
    for unit in units:
        here, after = (phase + unit - units.start) % len(letters), (phase + unit + 1 - units.start) % len(letters)
        if unit == units[-1] or after in boundaries or letters[here] != letters[after]:
            yield Run(range(start, unit + 1), letters[here] == "k")
            start = unit + 1


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
