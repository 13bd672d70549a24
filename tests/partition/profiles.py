"""Cost profiles for tests: random ones, and one like a residual network of any depth."""

import random
from dataclasses import replace
from itertools import accumulate, combinations, pairwise

from partition import Split
from partition.overlap import Pass, plan_modules
from partition.profile import CostProfile, NetworkCost, Place, UnitCost

SIDES = [(first, last) for first in (Place.INSIDE, Place.MODULE, Place.FINAL) for last in (Place.INSIDE, Place.MODULE)]
ALL_SIDES = [(first, last) for first in Place for last in Place]
MIB = 2**20


def all_splits(unit_count, module_count):
    """Every split of so many units into so many modules."""
    for cuts in combinations(range(1, unit_count), module_count - 1):
        ends = (0, *cuts, unit_count)
        yield Split(tuple(stop - start for start, stop in pairwise(ends)))


def residual_profile(unit_count, seed=0, noise=0):
    """Three stages of units that save half as much each, with heads that grow; `noise` MiB more or less per unit."""
    source = random.Random(seed)
    stages = [min(2, 3 * unit // unit_count) for unit in range(unit_count)]
    saved = [((256, 128, 64)[stage] + source.randint(-noise, noise)) * MIB for stage in stages]
    outputs = [(64, 32, 16)[stage] * MIB for stage in stages]
    units, auxiliaries = [], []
    for stage, held, output, freed in zip(stages, saved, outputs, [0, *outputs], strict=False):
        gradient = (20_480, 75_776, 297_472)[stage]
        backward = (gradient - (held - output) - freed, 2 * output)
        units.append(
            UnitCost(
                forward=dict.fromkeys(SIDES, (held, held + output)),
                backward=dict.fromkeys(SIDES, backward),
                gradient_bytes=gradient,
                update_bytes=gradient,
            )
        )
        head, weights = (3, 5, 8)[stage] * output, (112_640, 225_280, 231_424)[stage]
        auxiliaries.append(
            NetworkCost(
                forward=(head, head + output),
                backward=(weights - head, output),
                persistent_bytes=2 * weights,
                gradient_bytes=weights,
                update_bytes=weights,
                kept_bytes=512,
                flops=(3, 2, 1)[stage] * 10**9,
            )
        )
    head = NetworkCost(forward=(4096, 8192), backward=(-4096, 4096), gradient_bytes=2560, kept_bytes=512)
    return CostProfile(base_bytes=40 * MIB, units=tuple(units), head=head, auxiliaries=(tuple(auxiliaries),))


def overlapping_profile(unit_count, overlap, seed=0):
    """The residual chain with losses that reach beyond their module."""
    plain = residual_profile(unit_count, seed, noise=20)
    stages = [min(2, 3 * unit // unit_count) for unit in range(unit_count)]
    outputs = tuple((64, 32, 16)[stage] * MIB for stage in stages)
    units = []
    for unit, output, before in zip(plain.units, outputs, (0, *outputs), strict=False):
        (held, _), gradient = unit.forward[SIDES[0]], unit.gradient_bytes
        passes = {
            Pass.INPUT: (before - output, 2 * output),
            Pass.PARAMETERS: (gradient - held, output),
            Pass.BOTH: (gradient - held + before, 2 * output),
        }
        everywhere = {what: dict.fromkeys(ALL_SIDES, stretch) for what, stretch in passes.items()}
        units.append(replace(unit, forward=dict.fromkeys(ALL_SIDES, unit.forward[SIDES[0]]), passes=everywhere))
    between, dropped = {}, {}
    for sizes in ((1,) * 12, (1, 11), (12,), (3,) * 4, (3, 1, 3, 1, 1, 3), (1, 3, 8), (1, 3, 1, 7), (3, 1, 8), (3, 9)):
        small = replace(overlap, links=overlap.links[:12])
        for step in plan_modules(small, Split(sizes)):
            dropped[step.kind] = (*(0 for _ in {b for u in step.dropped for b in (u.start, u.stop)}), 512)
            between |= {(scope.kind, number): (0, 1) for scope in step.scopes for number in range(3)}
    return replace(
        plain,
        units=tuple(units),
        overlap=overlap,
        windows=plain.auxiliaries,
        output_bytes=outputs,
        between=between,
        dropped=dropped,
    )


def random_profile(
    seed,
    unit_count,
    largest=9,
    *,
    kinds=1,
    depth=0,
    segments=None,
    update_per_module=False,
    extra_losses=False,
    overlap=None,
):
    """A profile of numbers from 0 (net bytes from below 0), with ties where `largest` is small."""
    source = random.Random(seed)
    if overlap is not None:
        overlap = replace(overlap, links=overlap.links[:unit_count])

    def number():
        return source.randint(0, largest)

    def stretch():
        net = source.randint(-largest, largest)
        return net, max(0, net) + number()

    def network():
        return NetworkCost(
            forward=stretch(),
            backward=stretch(),
            closing=stretch(),
            persistent_bytes=number(),
            gradient_bytes=number(),
            update_bytes=number(),
            kept_bytes=kept,
            flops=number(),
            passes={what: stretch() for what in Pass} if overlap else {},
        )

    kept = number()
    sides = ALL_SIDES if segments or overlap else SIDES
    again = (lambda: {side: stretch() for side in sides}) if segments else dict
    units = tuple(
        UnitCost(
            forward={side: stretch() for side in sides},
            backward={side: stretch() for side in sides},
            recompute=again(),
            resume=again(),
            gradient_bytes=number(),
            update_bytes=number(),
            flops=number(),
            passes={what: {side: stretch() for side in sides} for what in Pass} if overlap else {},
            extra_loss=extra_losses and source.random() < 1 / 3,
        )
        for _ in range(unit_count)
    )
    shapes = tuple(accumulate(source.randint(0, 1) for _ in range(unit_count)))
    sources = {(shape,) for shape in shapes}
    for _ in range(depth - 1):
        sources |= {(shape, *rest) for shape in shapes for rest in sources if len(rest) < depth}
    if overlap:  # only an encoder of the image
        sources = {()} if seed % 2 else set()
    contexts, final_contexts = (
        {(unit, key): network() for unit in range(1, unit_count) for key in sorted(sources)} if depth or overlap else {}
        for _ in range(2)
    )
    return CostProfile(
        base_bytes=number(),
        units=units,
        head=network(),
        adding=stretch(),
        auxiliaries=tuple(tuple(network() for _ in range(unit_count)) for _ in range(kinds)),
        kinds=tuple(source.randrange(kinds) for _ in range(3)),
        contexts=contexts,
        final_contexts=contexts if overlap else final_contexts,
        shapes=shapes,
        context_depth=depth,
        segments=segments,
        update_per_module=update_per_module,
        overlap=overlap,
        whole=network() if overlap and not overlap.links else None,
        windows=tuple(tuple(network() for _ in range(unit_count)) for _ in range(kinds)),
        output_bytes=tuple(number() for _ in range(unit_count)),
        **(random_tensors(source, overlap, unit_count, number()) if overlap else {}),
    )


def random_tensors(source, overlap, unit_count, scalars):
    """What is made and let go beside backwards, for every kind that there is, as arguments of a profile."""
    between, dropped = {}, {}
    for module_count in range(1, unit_count + 1):
        for split in all_splits(unit_count, module_count):
            for step in plan_modules(overlap, split):
                positions = {position for units in step.dropped for position in (units.start, units.stop)}
                dropped[step.kind] = (*(source.randint(0, 2) for _ in positions), scalars)
                for scope in step.scopes:
                    for number in range(len(scope.passes) + 1):
                        net = source.randint(-1, 1)
                        between[scope.kind, number] = net, max(0, net) + source.randint(0, 1)
    return {"between": between, "dropped": dropped}
