"""Which splits of a chain to trace where losses reach beyond their module. Pure integers.

A unit is told apart by its place in its piece and by what a backward through the piece is for; what comes between
backwards and is let go at the end of a module's step, by kind (`partition.overlap`). Kinds depend on how many modules
come before and after, and on whether a module is longer than its link: splits into a few modules have them all.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise, product

from bench.profile_notes import FORWARD
from bench.trace_plan import PlanError, UnitName
from partition import Split
from partition.memory import piece_sides
from partition.overlap import ModuleStep, Overlap, plan_modules

SHORT_LINK = 4
"""Units of the longest link for which every length of a module up to one more is tried."""


def plan_overlapping(overlap: Overlap, of_chain: Overlap, like: Sequence[int], unit_count: int) -> list[Split]:
    """Splits of the short chain; the first has every unit as a module, and of the last everything is known before.

    Args:
        overlap: how far losses reach in the short chain.
        of_chain: the same in the chain.
        like: for every unit of the chain, the one that stands for it in the short chain.
        unit_count: units of the short chain.

    Raises:
        PlanError: some piece is not shown by what is tried.
    """
    missing: set[Hashable] = set(_unit_names(of_chain, like)) | set(_kinds(of_chain, len(like)))
    plan: list[Split] = []
    for split in _candidates(overlap, unit_count):
        steps = list(plan_modules(overlap, split))
        seen = set(_names_of(steps, range(unit_count), range(unit_count))) | {step.kind for step in steps}
        if missing & seen or not plan:
            plan.append(split)
            missing -= seen
    if missing:
        raise PlanError(f"no split that is tried has {missing}")
    return [*plan, _cycle(unit_count, (2, 1, max(overlap.links[:-1], default=2) + 1))]


def _unit_names(overlap: Overlap, like: Sequence[int]) -> Iterator[Hashable]:
    """Every unit in every place and backward that some module gives it."""
    count = len(like)
    for stop in range(1, count + 1):
        for start in range(stop):
            for before, after in product({min(1, start), min(start, overlap.kept)}, {1, overlap.kept}):
                ends = {0, *range(start - before + 1, start), start, stop, count, *range(stop + 1, stop + after)}
                steps = plan_modules(overlap, Split(tuple(b - a for a, b in pairwise(sorted(ends)) if b <= count)))
                yield from _names_of(steps, like, range(start, stop))


def _names_of(steps: Iterator[ModuleStep] | Sequence[ModuleStep], like: Sequence[int], of: range) -> Iterator[Hashable]:
    """Names of units in pieces that lie in a range."""
    for step in steps:
        for place, units in enumerate(step.pieces):
            if units.start in of and units.stop <= of.stop:
                for unit, sides in zip(units, piece_sides(units, link=place > 0), strict=True):
                    yield UnitName(like[unit], sides), FORWARD
        for scope in step.scopes:
            if scope.units.start in of and scope.units.stop <= of.stop:
                for unit, sides in zip(scope.units, piece_sides(scope.units, link=scope.link), strict=True):
                    for what in scope.passes:
                        yield UnitName(like[unit], sides), what


def _kinds(overlap: Overlap, unit_count: int) -> Iterator[Hashable]:
    """Kinds of all modules' steps."""
    for split in _few_modules(overlap, unit_count):
        yield from (step.kind for step in plan_modules(overlap, split))


def _few_modules(overlap: Overlap, unit_count: int) -> Iterator[Split]:
    """Splits into few modules, whose steps are of every kind there is."""
    if not overlap.links:
        most = min(unit_count, 2 * overlap.window + 1)
        yield from (Split((*(1,) * (count - 1), unit_count - count + 1)) for count in range(1, most + 1))
        return
    longest = max(overlap.links[:-1], default=1)
    sizes = range(1, longest + 2) if longest <= SHORT_LINK else (1, longest // 2, longest, longest + 1)
    for count in range(4):
        for first in product(sizes, repeat=count):
            if sum(first) < unit_count:
                yield Split((*first, unit_count - sum(first)))


def _candidates(overlap: Overlap, count: int) -> Iterator[Split]:
    """Splits that show many pieces first, then ones that show few."""
    longest = max(overlap.links[:-1], default=1)
    yield from (_cycle(count, sizes) for sizes in ((1,), (count,), (2,)))
    yield from (Split(sizes) for sizes in ((1, count - 1), (2, count - 2)) if min(sizes) > 0)
    for size in range(2, longest + 3):
        yield from (_cycle(count, (size,), start) for start in range(size))
    yield from _few_modules(overlap, count)
    yield from (Split((first, count - first)) for first in range(1, count))
    yield from (
        Split((first, size, count - first - size)) for first in range(1, count - 1) for size in range(1, count - first)
    )


def _cycle(count: int, sizes: Sequence[int], start: int = 0) -> Split:
    """Modules of these sizes, again and again, behind a first one; the last gets what is left."""
    ends = [0, start] if 0 < start < count else [0]
    while ends[-1] < count:
        ends.append(min(count, ends[-1] + sizes[(len(ends) - 1) % len(sizes)]))
    return Split(tuple(stop - begin for begin, stop in pairwise(ends)))
