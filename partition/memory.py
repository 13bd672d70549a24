"""The memory of a training step for any split, from a cost profile: the arithmetic in plain form.

    peak(split) = base + persistent + max( max over modules k of  D_k + peak(module k),  what the optimizer holds )

where `persistent` sums over the networks a method adds, and D_k is what earlier modules left: gradients, losses,
outputs. A module of units i .. j is

    context forward, F_i .. F_j, auxiliary forward and backward, B_j .. B_i, context backward, closing

joined into one stretch. With checkpointed segments the backward of each, last to first, is: beginning of the backward
of its last unit, its forwards again, its backwards. `local_modules.py` computes the same for all modules at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from partition.profile import CostProfile, NetworkCost, Place, Sides, Sources, Stretch, UnitCost, join
from partition.runs import Run, Runs, find_runs
from partition.split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """Peak of a step and of its parts, in bytes."""

    peak_bytes: int
    module_bytes: tuple[int, ...]
    """Most bytes in memory while each module runs."""
    optimizer_bytes: int
    """Most bytes in memory while the optimizer runs after the last module."""
    added_flops: int
    """Floating-point operations of auxiliary and context networks' forwards, and of recomputation."""


def step_memory(profile: CostProfile, split: Split) -> StepMemory:
    """Peak of the step of a split; time O(units)."""
    ranges = split.modules()
    contexts = find_contexts(profile, [units.start for units in ranges])
    ends = [end_network(profile, k, split) for k in range(split.module_count)]
    base = profile.base_bytes + sum(network.persistent_bytes for network in (*contexts, *ends))
    left, held, flops, module_bytes = 0, 0, 0, []
    for units, context, end in zip(ranges, contexts, ends, strict=True):
        added = (*(profile.units[unit] for unit in units), context, end)
        gradients, update = (sum(getattr(part, name) for part in added) for name in ("gradient_bytes", "update_bytes"))
        delta, peak = join(module_stretches(profile, units, context, end))
        if profile.update_per_module:
            delta, peak = join([(delta, peak), (-gradients, update)])
        else:
            held += gradients + update + end.kept_bytes
        module_bytes.append(base + left + peak)
        left += delta
        flops += context.flops + end.flops
        recomputed = (run.units for run in find_runs(profile.segments, units) if not run.kept)
        flops += sum(profile.units[unit].flops for run in recomputed for unit in run)
    optimizer_bytes = base + held
    return StepMemory(
        peak_bytes=max(*module_bytes, optimizer_bytes),
        module_bytes=tuple(module_bytes),
        optimizer_bytes=optimizer_bytes,
        added_flops=flops,
    )


def end_network(profile: CostProfile, module: int, split: Split) -> NetworkCost:
    """Auxiliary networks of a module, or the head for the last."""
    if module == split.module_count - 1:
        return profile.head
    kind = profile.kind(module, split.module_count)
    return profile.auxiliaries[kind][split.last_units[module]]


def find_contexts(profile: CostProfile, starts: list[int]) -> list[NetworkCost]:
    """Context before every module, given the modules' first units; an empty one before the first."""
    contexts: list[NetworkCost] = [NetworkCost()]
    sources: Sources = ()
    for previous, start in pairwise(starts):
        sources = next_sources(profile.shapes, sources, previous, profile.context_depth)
        known = profile.contexts if start != starts[-1] else profile.final_contexts
        contexts.append(known[start, sources] if known else NetworkCost())
    return contexts


def next_sources(shapes: Sequence[int], sources: Sources, start: int, depth: int) -> Sources:
    """Sources of context behind a module that begins with unit `start`, given those before it, latest first."""
    return (shapes[start], *sources)[:depth] if depth else ()


def module_stretches(profile: CostProfile, units: range, context: NetworkCost, end: NetworkCost) -> Iterator[Stretch]:
    """Stretches of one local module, in the order of the step."""
    adding = [profile.adding] if any(profile.units[unit].extra_loss for unit in units) else []
    first = profile.final if end is profile.head else Place.MODULE
    yield context.forward
    yield from run_stretches(profile, units, first, [end.forward, *adding, end.backward])
    yield from (context.backward, end.closing)


def run_stretches(profile: CostProfile, units: range, first: Place, between: Sequence[Stretch]) -> Iterator[Stretch]:
    """Stretches of a module's units, with what lies between their forwards and backwards."""
    runs = find_runs(profile.segments, units)
    sides = dict(zip(units, find_sides(runs, first), strict=True))
    for run in runs:
        for unit in run.units:
            yield costs_in(profile, run)[unit].forward[sides[unit]]
    yield from between
    for run in reversed(runs):
        costs = costs_in(profile, run)
        if not run.kept:
            yield costs[run.units[-1]].resume[sides[run.units[-1]]]
            for unit in run.units:
                yield costs[unit].recompute[sides[unit]]
        for unit in reversed(run.units):
            yield costs[unit].backward[sides[unit]]


def costs_in(profile: CostProfile, run: Run) -> Sequence[UnitCost]:
    """Costs of units in a run."""
    return profile.kept if run.kept and profile.kept else profile.units


def find_sides(runs: Runs, first: Place = Place.MODULE) -> list[Sides]:
    """Places of every unit of a module that is cut into these runs, given that of its first."""
    before = [first, *(_beside(run) for run in runs[:-1])]
    behind = [*(_beside(run) for run in runs[1:]), Place.MODULE]
    return [
        (
            early if unit == run.units[0] else Place.INSIDE,
            late if unit == run.units[-1] else Place.INSIDE,
        )
        for run, early, late in zip(runs, before, behind, strict=True)
        for unit in run.units
    ]


def _beside(run: Run) -> Place:
    """Place of a unit next to this run, on the other side of the boundary."""
    return Place.KEPT if run.kept else Place.SEGMENT
