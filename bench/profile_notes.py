"""What the pieces of traced steps did, by name, and the cost profile they make.

A piece that is seen twice under one name must do the same; names of alike units are those of the unit that stands for
them in the short chain.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import nn

from bench.cases import CaseError
from bench.simulator.overlap_pieces import CONTEXT, BetweenKey, OverlappingPieces, PassKey
from bench.simulator.pieces import Key, Stretch
from bench.simulator.trace_split import Trace
from bench.trace_plan import ModuleNames, UnitName, context_names
from partition.memory import piece_sides
from partition.overlap import Loss, ModuleStep, Overlap, Pass
from partition.profile import NOTHING, CostProfile, NetworkCost, Sides, UnitCost
from partition.runs import Segments

HEADS = (Loss.HEAD, Loss.WHOLE)
ADDING = ("loss", "adding")
FORWARD, BACKWARD = "forward", "backward"
UNIT_PARTS = (FORWARD, BACKWARD, "recompute", "resume")


class Terms(NamedTuple):
    """What the loss of a module is made of."""

    reconstruction: bool = True
    local: bool = True
    copies: int = 0
    """Number of modules for which other units are copied into auxiliary networks than usual; 0: as usual."""


Kinds = tuple[Terms, Terms, Terms]
"""Of the first local module, of those between, and of the last."""


class ProfileError(CaseError):
    """A step that is not the sum of its pieces: its memory under other splits cannot be computed from them."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a unit or network is, whatever the step does with it."""

    persistent_bytes: int
    gradient_bytes: int
    parameter_count: int
    flops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A chain to put together: units as those of the short chain that stand for them."""

    like: Sequence[int]
    shapes: tuple[int, ...]
    """Number of the shape of every unit's input."""
    kinds: Kinds
    overlap: Overlap | None
    segments: Segments | Literal["balanced"] | None


class Notes:
    """What was seen so far."""

    def __init__(self, title: str, loss_units: frozenset[int], depth: int, *, per_module: bool) -> None:
        """Begin with nothing.

        Args:
            title: of the method and network, for errors.
            loss_units: those of the short chain behind which the network has a loss of its own.
            depth: how many earlier module inputs context reads.
            per_module: each module is updated after its own backward.
        """
        self.title = title
        self.loss_units = loss_units
        self.depth = depth
        self.per_module = per_module
        self._pieces: dict[tuple[Hashable, Hashable], Stretch] = {}
        self._facts: dict[Hashable, _Facts] = {}
        self._between: dict[tuple[Hashable, int], Stretch] = {}
        self._dropped: dict[Hashable, tuple[int, ...]] = {}
        self._output_bytes: dict[int, int] = {}
        """Of units, where a gradient of that size was seen as well."""
        self._others: set[int] = set()
        """Bytes held all through the step besides parameters, buffers and state; one value."""
        self._updates: set[tuple[int, int]] = set()
        """(bytes of the gradients that an optimizer's step uses, what it takes for itself)."""
        self._kept: set[tuple[int, int]] = set()
        """(number of losses, bytes held besides gradients when the optimizer begins)."""

    # --- noting -------------------------------------------------------------------------------------------------------

    def note_trace(self, trace: Trace, modules: Sequence[ModuleNames], terms: Terms) -> None:
        """Note what every piece of a traced step did.

        Raises:
            ProfileError: a piece did something else before.
        """
        network, last = trace.network, len(modules) - 1
        for k, module in enumerate(modules):
            step = trace.steps[k] if trace.steps else None
            losses = step.losses if step else (Loss.HEAD if k == last else Loss.OWN,)
            for name in _name_forwards(step) if step else module.unit_names:
                self._note_unit(trace, k, name)
            context = module.context if network.junctions else None
            if context is not None:
                self._note(context, FORWARD, trace.pieces.get(Key(k, CONTEXT), NOTHING))
                self._note_facts(context, trace, [network.junctions[k - 1]], f"context {k - 1} None")
            for place, loss in enumerate(losses):
                name = loss if loss in HEADS else (loss, terms, module.units[-1])
                label = f"{'head' if loss in HEADS else 'auxiliary'} {k} None" + " again" * place
                networks = network.windows if loss == Loss.WINDOW else network.auxiliaries
                added = network.chain.head if loss in HEADS else networks[str(k)]
                part = str(loss) if step else "loss"
                for direction in (FORWARD, BACKWARD):
                    key = Key(k, part, of_backward=direction == BACKWARD)
                    self._note(name, direction, trace.pieces.get(key, NOTHING))
                self._note_facts(name, trace, [added], label)
            if step is None:
                self._note_isolated(trace, k, module, terms)
        if isinstance(trace.overlapping, OverlappingPieces):
            self._note_overlapping(trace.overlapping, trace.steps, modules)
        self._note_totals(trace)

    def _note_unit(self, trace: Trace, module: int, name: UnitName) -> None:
        unit = trace.network.chain.unit_names[name.unit]
        parts = (FORWARD,) if trace.steps else UNIT_PARTS[: 2 if trace.parts.segments is None or name.kept else None]
        for part in parts:
            self._note(name, part, trace.pieces.get(Key(module, part, unit), NOTHING))
        members = trace.network.members(range(name.unit, name.unit + 1))
        self._note_facts(name.unit, trace, members, f"unit {module} {unit}")

    def _note_isolated(self, trace: Trace, k: int, module: ModuleNames, terms: Terms) -> None:
        """What only a module has whose loss stays inside."""
        if module.context is not None and trace.network.junctions:
            self._note(module.context, BACKWARD, trace.pieces.get(Key(k, CONTEXT, of_backward=True), NOTHING))
        if k < trace.split.module_count - 1:
            self._note((Loss.OWN, terms, module.units[-1]), "closing", trace.pieces.get(Key(k, "closing"), NOTHING))
        adding = trace.pieces.get(Key(k, "adding"), NOTHING)
        if not self.loss_units.isdisjoint(module.units):
            self._note(*ADDING, adding)
        elif adding != NOTHING:
            raise ProfileError(f"{self.title} does something of its own between a loss and its backward")

    def _note_overlapping(
        self, pieces: OverlappingPieces, steps: Sequence[ModuleStep], modules: Sequence[ModuleNames]
    ) -> None:
        """Backwards through pieces, and what comes between them."""
        for position, sizes in pieces.boundary_bytes.items():
            if position and sizes != {self._output_bytes.setdefault(position - 1, min(sizes))}:
                raise ProfileError(f"{self.title}: tensors of several sizes at a boundary ({sorted(sizes)} bytes)")
        contexts = {module.units.start: module.context for module in modules}
        for k, step in enumerate(steps):
            for s, scope in enumerate(step.scopes):
                sides = piece_sides(scope.units, link=scope.link)
                for number, what in enumerate(scope.passes):
                    for unit, side in zip(scope.units, sides, strict=True):
                        key = PassKey(k, s, number, pieces.unit_names[unit])
                        self._note(UnitName(unit, side), what, pieces.stretches.get(key, NOTHING))
                    context = contexts.get(scope.units.start)
                    if context is not None:
                        key = PassKey(k, s, number, CONTEXT)
                        self._note(context, what, pieces.stretches.get(key, NOTHING))
                for number in range(len(scope.passes) + 1):
                    net, peak = pieces.stretches.get(BetweenKey(k, s, number), NOTHING)
                    size = self._output_bytes[scope.units[-1]]
                    found = self._count(net, size), self._count(peak, size)
                    if self._between.setdefault((scope.kind, number), found) != found:
                        raise ProfileError(
                            f"{self.title}: {found} tensors between backwards, {number} of {scope} in module {k}, "
                            f"before {self._between[scope.kind, number]}"
                        )
            self._note_dropped(pieces, k, step)

    def _note_dropped(self, pieces: OverlappingPieces, k: int, step: ModuleStep) -> None:
        positions = sorted({position for units in step.dropped for position in (units.start, units.stop)})
        strange = set(pieces.dropped[k]) - {-1, *positions}
        if strange:
            raise ProfileError(f"{self.title}: tensors at {strange} are let go with the pieces {step.dropped}")
        counts = [
            self._count(pieces.dropped[k][position], self._output_bytes[position - 1] if position else 1)
            for position in positions
        ]
        found = (*counts, pieces.dropped[k][-1])
        if self._dropped.setdefault(step.kind, found) != found:
            raise ProfileError(f"{self.title}: {found} is let go at the end of a module, before {self._dropped}")

    def _count(self, value: int, size: int) -> int:
        """Number of tensors of a size."""
        count, rest = divmod(value, size)
        if rest:
            raise ProfileError(f"{self.title}: {value} bytes between backwards are no multiple of {size}")
        return count

    def _note(self, name: Hashable, part: Hashable, stretch: Stretch) -> None:
        if self._pieces.setdefault((name, part), stretch) != stretch:
            raise ProfileError(
                f"{self.title} is not the sum of its pieces: {name}, {part} did {stretch}, before "
                f"{self._pieces[name, part]}"
            )

    def _note_facts(self, name: Hashable, trace: Trace, modules: Sequence[nn.Module], label: str) -> None:
        if name in self._facts:
            return
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self._facts[name] = _Facts(
            persistent_bytes=trace.persistent_bytes(*modules),
            gradient_bytes=trace.gradient_bytes(parameters),
            parameter_count=sum(parameter.numel() for parameter in parameters),
            flops=trace.flops[label],
        )

    def _note_totals(self, trace: Trace) -> None:
        network = trace.network
        every = trace.gradient_bytes(network.parameters())
        self._others.add(trace.alive_bytes - trace.persistent_bytes(network) - (0 if self.per_module else every))
        for module, (delta, peak) in trace.updates.items():
            used = trace.gradient_bytes(network.module_parameters()[module]) if self.per_module else every
            self._updates.add((used, peak))
            if self.per_module and delta != -used:
                raise ProfileError(f"an update of a module drops {-delta} bytes, its gradients are {used}")
        if not self.per_module:
            losses = sum(bool(step.losses) for step in trace.steps) or trace.split.module_count
            self._kept.add((losses, trace.kept_bytes))

    # --- putting together ---------------------------------------------------------------------------------------------

    def assemble(self, chain: Shape) -> CostProfile:
        """The profile of a chain.

        Raises:
            ProfileError: what was seen does not fit together.
        """
        if len(self._others) > 1:
            raise ProfileError(
                f"what is held besides parameters, buffers and state differs: {sorted(self._others)} bytes"
            )
        like, shapes = chain.like, chain.shapes
        per_byte, once = _fit(self._updates)
        per_loss, besides = _fit(self._kept)
        local = any(isinstance(name, tuple) and name[0] in (Loss.OWN, Loss.WINDOW) for name in self._facts)
        terms = sorted(set(chain.kinds)) if local else []
        own_update = once if self.per_module else 0
        units, kept = ({unit: self._unit(unit, per_byte, kept=kept) for unit in set(like)} for kept in (False, True))

        def networks(loss: Loss) -> tuple[tuple[NetworkCost, ...], ...]:
            known = {
                (kind, unit): self._network((loss, kind, unit), per_byte, update=own_update, kept=per_loss)
                for kind in terms
                for unit in set(like)
                if ((loss, kind, unit), BACKWARD) in self._pieces
            }
            return tuple(tuple(known.get((kind, unit), NetworkCost()) for unit in like) for kind in terms)

        head, whole = (
            self._network(name, per_byte, update=once, kept=per_loss + besides) if name in self._facts else None
            for name in HEADS
        )
        head = head or whole
        if head is None:
            raise ProfileError(f"{self.title} has no head")
        contexts, final_contexts = (
            {
                place: self._network(name._replace(final=final), per_byte)
                for place, name in context_names(shapes, self.depth).items()
                if (name._replace(final=final), FORWARD) in self._pieces
            }
            for final in (False, self.depth > 0)
        )
        kinds = (terms.index(chain.kinds[0]), terms.index(chain.kinds[1]), terms.index(chain.kinds[2])) if terms else ()
        return CostProfile(
            base_bytes=sum(self._others)
            + sum(self._facts[unit].persistent_bytes for unit in like)
            + head.persistent_bytes,
            units=tuple(units[unit] for unit in like),
            head=replace(head, persistent_bytes=0, flops=0),
            whole=whole and replace(whole, persistent_bytes=0, flops=0),
            adding=self._pieces.get(ADDING, NOTHING),
            auxiliaries=networks(Loss.OWN),
            kinds=kinds or (0, 0, 0),
            contexts=contexts,
            final_contexts=final_contexts,
            shapes=shapes,
            context_depth=self.depth,
            segments=chain.segments,
            kept=tuple(kept[unit] for unit in like) if any(kept[unit].forward for unit in like) else (),
            backbone_flops=sum(self._facts[unit].flops for unit in like) + head.flops,
            overlap=chain.overlap,
            windows=networks(Loss.WINDOW),
            output_bytes=tuple(self._output_bytes.get(unit, 0) for unit in like) if chain.overlap else (),
            between=self._between,
            dropped=self._dropped,
            update_per_module=self.per_module,
        )

    def _unit(self, unit: int, update_per_byte: int, *, kept: bool) -> UnitCost:
        facts = self._facts[unit]
        stretches: dict[object, dict[Sides, Stretch]] = {part: {} for part in (*UNIT_PARTS, *Pass)}
        for (name, part), stretch in self._pieces.items():
            if isinstance(name, UnitName) and name.unit == unit and name.kept == kept:
                stretches[part][name.sides] = stretch
        return UnitCost(
            forward=stretches[FORWARD],
            backward=stretches[BACKWARD],
            recompute=stretches["recompute"],
            resume=stretches["resume"],
            passes={what: stretches[what] for what in Pass},
            extra_loss=unit in self.loss_units,
            gradient_bytes=facts.gradient_bytes,
            update_bytes=update_per_byte * facts.gradient_bytes,
            flops=facts.flops,
            parameter_count=facts.parameter_count,
        )

    def _network(self, name: Hashable, update_per_byte: int, *, update: int = 0, kept: int = 0) -> NetworkCost:
        facts = self._facts[name]
        return NetworkCost(
            forward=self._pieces[name, FORWARD],
            backward=self._pieces.get((name, BACKWARD), NOTHING),
            closing=self._pieces.get((name, "closing"), NOTHING),
            passes={what: self._pieces[name, what] for what in Pass if (name, what) in self._pieces},
            persistent_bytes=facts.persistent_bytes,
            gradient_bytes=facts.gradient_bytes,
            update_bytes=update + update_per_byte * facts.gradient_bytes,
            kept_bytes=kept,
            flops=facts.flops,
        )


def _name_forwards(step: ModuleStep) -> Iterator[UnitName]:
    for place, units in enumerate(step.pieces):
        for unit, sides in zip(units, piece_sides(units, link=place > 0), strict=True):
            yield UnitName(unit, sides)


def _fit(points: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Slope and intercept of the line of whole numbers through all points; a single point has slope 0.

    Raises:
        ProfileError: there is no such line.
    """
    known = sorted(points)
    if not known:
        return 0, 0
    (x, y), (far_x, far_y) = known[0], known[-1]
    slope = (far_y - y) // (far_x - x) if far_x > x else 0
    intercept = y - slope * x
    if any(slope * x + intercept != y for x, y in known):
        raise ProfileError(f"bytes do not grow evenly: {known}")
    return slope, intercept
