"""The memory of a training step for any split, from a cost profile: the arithmetic in plain form.

    peak(split) = base + persistent + max( max over modules k of  D_k + peak(module k),  what the optimizer holds )

where `persistent` sums over the networks a method adds, and D_k is what earlier modules left: gradients, losses,
outputs. A module of units i .. j is

    context forward, F_i .. F_j, auxiliary forward and backward, B_j .. B_i, context backward, closing

joined into one stretch. With checkpointed segments the backward of each, last to first, is: beginning of the backward
of its last unit, its forwards again, its backwards. `local_modules.py` computes the same for all modules at once.

Where losses reach beyond their module, the stretch of module k holds its context and forward, its losses, the backwards
through every piece alive, latest first, and what is let go (`overlap.py`; `overlapping_modules.py` for all at once).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from partition.overlap import Loss, ModuleStep, plan_modules
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
    steps = list(plan_modules(profile.overlap, split)) if profile.overlap else []
    ends = [end_networks(profile, k, split, steps) for k in range(split.module_count)]
    base = profile.base_bytes + sum(network.persistent_bytes for network in chain(contexts, *ends))
    left, held, flops, module_bytes = 0, 0, 0, []
    for k, (units, context, networks) in enumerate(zip(ranges, contexts, ends, strict=True)):
        added = (*(profile.units[unit] for unit in units), context, *networks)
        gradients, update = (sum(getattr(part, name) for part in added) for name in ("gradient_bytes", "update_bytes"))
        if steps:
            stretches = overlapping_stretches(profile, steps[k], contexts[: k + 1], ranges, networks)
        else:
            stretches = module_stretches(profile, units, context, networks[0])
        delta, peak = join(stretches)
        if profile.update_per_module:
            delta, peak = join([(delta, peak), (-gradients, update)])
        else:
            held += gradients + update + max((network.kept_bytes for network in networks), default=0)
        module_bytes.append(base + left + peak)
        left += delta
        flops += context.flops + sum(network.flops for network in networks)
        recomputed = (run.units for run in find_runs(profile.segments, units) if not run.kept)
        flops += sum(profile.units[unit].flops for run in recomputed for unit in run)
    optimizer_bytes = base + held
    return StepMemory(
        peak_bytes=max(*module_bytes, optimizer_bytes),
        module_bytes=tuple(module_bytes),
        optimizer_bytes=optimizer_bytes,
        added_flops=flops,
    )


def end_networks(
    profile: CostProfile, module: int, split: Split, steps: Sequence[ModuleStep] = ()
) -> tuple[NetworkCost, ...]:
    """What gives a module its losses: auxiliary networks, or the head for the last."""
    if module == split.module_count - 1:
        return (profile.whole or profile.head if module == 0 else profile.head,)
    kind, unit = profile.kind(module, split.module_count), split.last_units[module]
    known = {Loss.OWN: profile.auxiliaries, Loss.WINDOW: profile.windows}
    return tuple(known[loss][kind][unit] for loss in (steps[module].losses if steps else (Loss.OWN,)))


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


def overlapping_stretches(
    profile: CostProfile,
    step: ModuleStep,
    contexts: Sequence[NetworkCost],
    ranges: Sequence[range],
    networks: Sequence[NetworkCost],
) -> Iterator[Stretch]:
    """Stretches of the step of one module where losses reach beyond it.

    Args:
        profile: costs.
        step: what the module's step does.
        contexts: before every module up to this one.
        ranges: units of all modules.
        networks: that give the module its losses.
    """
    costs = profile.units
    yield contexts[-1].forward
    for place, units in enumerate(step.pieces):
        for unit, side in zip(units, piece_sides(units, link=place > 0), strict=True):
            yield costs[unit].forward[side]
    for network in networks:
        yield from (network.forward, network.backward)
    for scope in step.scopes:
        units, size = scope.units, profile.output_bytes[scope.units[-1]]
        sides = piece_sides(units, link=scope.link)
        context = next((c for c, module in zip(contexts, ranges, strict=False) if module.start == units.start), None)
        for number, what in enumerate(scope.passes):
            yield _times(profile.between[scope.kind, number], size)
            for unit, side in zip(reversed(units), reversed(sides), strict=True):
                yield costs[unit].passes[what][side]
            if context is not None and context.passes:
                yield context.passes[what]
        yield _times(profile.between[scope.kind, len(scope.passes)], size)
    *counts, scalars = profile.dropped[step.kind]
    positions = sorted({position for units in step.dropped for position in (units.start, units.stop)})
    sizes = [profile.output_bytes[position - 1] if position else 0 for position in positions]
    yield -scalars - sum(count * size for count, size in zip(counts, sizes, strict=True)), 0


def piece_sides(units: range, *, link: bool) -> list[Sides]:
    """Places of every unit of a piece; a link begins inside its module."""
    return find_sides((Run(units, kept=True),), Place.SEGMENT if link else Place.MODULE)


def _times(stretch: Stretch, size: int) -> Stretch:
    return stretch[0] * size, stretch[1] * size


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
