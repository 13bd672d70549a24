"""The cost profile of a case: every unit, auxiliary and context network traced under the simulator, as integers.

A few splits of the chain are simulated, in which every piece occurs under every condition that changes what it does to
memory (`trace_plan.py`). A piece that is seen twice under one condition must do the same; that is checked, and so is
that the pieces of every traced split add up to its peak. Both together entitle `partition` to put the pieces together
in any other way. Alike units are traced once.

Bytes are requests rounded to the allocator's blocks of 512. The simulator's allocated peak is never below that, and
equal where no block leaves a rest that is too small to be split off.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from bench.cases import CaseError
from bench.short_chain import shorten
from bench.simulator.model import Model, read_model
from bench.simulator.pieces import AFTER, UPDATE, Key, PieceError, Stretch
from bench.simulator.shapes import ShapeCache
from bench.simulator.trace_split import META, Trace, trace_split
from bench.trace_plan import UnitName, context_names, name_pieces, number_shapes, plan_traces
from bench.training import MEMORY_FORMATS
from bench.workloads.networks import network_for
from methods.api import Parts, Weights
from methods.chain import Chain, Shape
from methods.datasets import get_dataset
from methods.engine import loss_weights
from methods.registry import read_spec
from partition import Split
from partition.memory import step_memory
from partition.profile import NOTHING, CostProfile, NetworkCost, UnitCost
from partition.runs import BALANCED, Segments
from results.record import Case

Terms = tuple[bool, bool]
"""Whether a module's loss has a reconstruction, and whether it has a local loss."""
Kinds = tuple[Terms, Terms, Terms]
"""Of the first local module, of those between, and of the last."""
BOTH: Terms = (True, True)
HEAD = "head"
ADDING = ("loss", "adding")
UNIT_PARTS = ("forward", "backward", "recompute", "resume")


class ProfileError(CaseError):
    """A step that is not the sum of its pieces: its memory under other splits cannot be computed from them."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a unit or network is, whatever the step does with it."""

    persistent_bytes: int
    gradient_bytes: int
    parameter_count: int
    flops: int


class Profiler:
    """Traces a network under a method, once for all splits."""

    def __init__(self, case: Case, model: Model | None = None) -> None:
        """Build the network and trace what every split needs.

        Args:
            case: network, method, batch and numeric options; its split counts for nothing, and its number of modules
                only where the method adds units to the network for it.
            model: the device; None for `read_model()`.

        Raises:
            ProfileError: the method's step is not the sum of its pieces.
        """
        self.case = case
        self.model = model or read_model()
        self.parts = read_spec(case.method).parts
        if (
            self.parts.link
            or self.parts.cascade
            or self.parts.leap
            or (self.parts.context and self.parts.context.middles)
        ):
            raise ProfileError(f"a module of '{case.method}' costs what it does because of modules further away")
        if self.parts.sequential:
            raise ProfileError(
                f"'{case.method}' trains one module per step, in rounds, which no sum over a split covers"
            )
        if self.parts.deeper:
            raise ProfileError(f"the depth of the backbone of '{case.method}' follows from the number of modules")
        self.per_module = self.parts.step == "per_module"
        self.depth = self.parts.context.features if self.parts.context else 0
        self.chain = _build_chain(case, self.parts)
        self.shapes = number_shapes(_input_shapes(self.chain))
        self.short, self.like = self.chain, tuple(range(len(self.chain.units)))
        if self.parts.local_loss is not None or self.parts.segments == BALANCED:
            self.short, self.like = shorten(
                self.chain, max(4 if self.depth or self.parts.segments else 3, self.depth + 1)
            )
        number = dict(zip(_input_shapes(self.chain), self.shapes, strict=True))
        self.short_shapes = tuple(number[shape] for shape in _input_shapes(self.short))
        self._shapes = ShapeCache()
        self._pieces: dict[Hashable, Stretch] = {}
        self._facts: dict[Hashable, _Facts] = {}
        self._others: set[int] = set()
        """Bytes held all through the step besides parameters, buffers and state; one value."""
        self._updates: set[tuple[int, int]] = set()
        """(bytes of the gradients that an optimizer's step uses, what it takes for itself)."""
        self._kept: set[tuple[int, int]] = set()
        """(number of modules, bytes held besides gradients when the optimizer begins)."""
        self._terms: set[Terms] = set()
        one_module = self.parts.local_loss is None
        plan = plan_traces(self.short_shapes, self.like, self.depth, self.parts.segments, one_module=one_module)
        self._any_segments = plan[-1][1]
        traces = [self._trace(split, BOTH, segments) for split, segments in plan]
        for trace in traces:
            self._check(trace)

    def profile(self, module_count: int, *, even: bool = False) -> CostProfile:
        """Costs for splits into so many modules; with `even`, for those whose sizes differ by one at most.

        The number of modules decides the published loss weights, and these whether a network is left out because its
        weight is 0. Numbers of modules with the same `kinds` have the same profile.

        Raises:
            ProfileError: the method's step is not the sum of its pieces.
        """
        kinds = self.kinds(module_count, even=even)
        for terms in sorted(set(kinds) - self._terms):
            self._check(self._trace(Split((1,) * len(self.short.units)), terms, self._any_segments))
        return self._assemble(self.like, self.shapes, kinds)

    def kinds(self, module_count: int, *, even: bool = False) -> Kinds:
        """What the losses of modules are made of."""
        if not self.parts.decoder or self.parts.run_zero_weight or module_count == 1:
            return BOTH, BOTH, BOTH
        pairs = loss_weights(self.chain, self.parts, module_count, even=even)
        first, between, last = ((bool(a), bool(b)) for a, b in (pairs[0], pairs[min(1, len(pairs) - 1)], pairs[-1]))
        return first, between, last

    # --- tracing ------------------------------------------------------------------------------------------------------

    def _trace(self, split: Split, terms: Terms, segments: Segments | None) -> Trace:
        """Simulate a split of the short chain and note what its pieces did."""
        parts = replace(self.parts, segments=segments)
        if parts.decoder and not parts.run_zero_weight:
            pair = (float(terms[0]), float(terms[1]))
            parts = replace(parts, weights=Weights(first=pair, last=pair))
        try:
            trace = trace_split(self.case, self.short, split, parts, self.model, self._shapes)
        except PieceError as error:
            raise ProfileError(str(error)) from error
        self._terms.add(terms)
        network, last = trace.network, split.module_count - 1
        for k, module in enumerate(name_pieces(split, segments, self.short_shapes, self.depth)):
            for name in module.unit_names:
                self._note_unit(trace, k, name)
            if module.context is not None and network.junctions:
                self._note_network(trace, k, module.context, "context", network.junctions[k - 1])
            if k == last:
                self._note_network(trace, k, HEAD, HEAD, network.chain.head)
            else:
                name = (terms, module.units[-1])
                self._note_network(trace, k, name, "auxiliary", network.auxiliaries[str(k)])
                self._note((name, "closing"), trace.pieces.get(Key(k, "closing"), NOTHING))
            adding = trace.pieces.get(Key(k, "adding"), NOTHING)
            if any(self._has_loss(unit) for unit in module.units):
                self._note(ADDING, adding)
            elif adding != NOTHING:
                raise ProfileError(f"{self.case.method} does something of its own between a loss and its backward")
        self._note_totals(trace)
        return trace

    def _has_loss(self, unit: int) -> bool:
        return str(unit) in self.short.extra_losses

    def _note_unit(self, trace: Trace, module: int, name: UnitName) -> None:
        unit = self.short.unit_names[name.unit]
        parts = ("forward", "backward") if trace.parts.segments is None or name.kept else UNIT_PARTS
        for part in parts:
            self._note((name, part), trace.pieces.get(Key(module, part, unit), NOTHING))
        members = trace.network.members(range(name.unit, name.unit + 1))
        self._note_facts(name.unit, trace, members, f"unit {module} {unit}")

    def _note_network(self, trace: Trace, module: int, name: Hashable, phase: str, network: nn.Module) -> None:
        part = "context" if phase == "context" else "loss"
        for of_backward in (False, True):
            stretch = trace.pieces.get(Key(module, part, of_backward=of_backward), NOTHING)
            self._note((name, of_backward), stretch)
        label = module - 1 if phase == "context" else module  # junctions are counted from the module before them
        self._note_facts(name, trace, [network], f"{phase} {label} None")

    def _note(self, name: Hashable, stretch: Stretch) -> None:
        if self._pieces.setdefault(name, stretch) != stretch:
            raise ProfileError(
                f"{self.case.method} on {self.case.network} is not the sum of its pieces: {name} did {stretch}, "
                f"before {self._pieces[name]}"
            )

    def _note_facts(self, name: Hashable, trace: Trace, modules: Sequence[nn.Module], label: str) -> None:
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
        for key, (delta, peak) in trace.pieces.items():
            if key.part == UPDATE and self.per_module:
                used = trace.gradient_bytes(network.module_parameters()[key.module])
                self._updates.add((used, peak))
                if delta != -used:
                    raise ProfileError(f"an update of a module drops {-delta} bytes, its gradients are {used}")
            elif key.part == UPDATE:
                self._updates.add((every, peak))
        if not self.per_module:
            before = (delta for key, (delta, _) in trace.pieces.items() if key.part not in (UPDATE, AFTER))
            self._kept.add((trace.split.module_count, sum(before)))

    def _check(self, trace: Trace) -> None:
        """The pieces of a traced split add up to its peak."""
        terms = BOTH if trace.parts.weights is None or trace.parts.run_zero_weight else _terms(trace.parts.weights)
        profile = self._assemble(range(len(self.short.units)), self.short_shapes, (terms, terms, terms))
        peak = step_memory(replace(profile, segments=trace.parts.segments), trace.split).peak_bytes
        if peak != trace.peak_bytes:
            raise ProfileError(
                f"{self.case.method} on {self.case.network} is not the sum of its pieces: {trace.split} has a peak "
                f"of {trace.peak_bytes} bytes, its pieces one of {peak}"
            )

    # --- putting together ---------------------------------------------------------------------------------------------

    def _assemble(self, like: Sequence[int], shapes: tuple[int, ...], kinds: Kinds) -> CostProfile:
        """The profile of a chain whose units are like these of the short chain."""
        if len(self._others) > 1:
            raise ProfileError(
                f"what is held besides parameters, buffers and state differs: {sorted(self._others)} bytes"
            )
        per_byte, once = _fit(self._updates)
        per_loss, besides = _fit(self._kept)
        terms = sorted(set(kinds)) if self.parts.local_loss else []
        own_update = once if self.per_module else 0
        units, kept = ({unit: self._unit(unit, per_byte, kept=kept) for unit in set(like)} for kept in (False, True))
        networks = {
            (kind, unit): self._network((kind, unit), per_byte, update_bytes=own_update, kept_bytes=per_loss)
            for kind in terms
            for unit in set(like)
            if ((kind, unit), True) in self._pieces
        }
        head = self._network(HEAD, per_byte, update_bytes=once, kept_bytes=per_loss + besides)
        contexts, final_contexts = (
            {
                place: self._network(name._replace(final=final), per_byte)
                for place, name in context_names(shapes, self.depth).items()
                if (name._replace(final=final), True) in self._pieces
            }
            for final in (False, self.depth > 0)
        )
        backbone = sum(self._facts[unit].persistent_bytes for unit in like)
        return CostProfile(
            base_bytes=sum(self._others) + backbone + head.persistent_bytes,
            units=tuple(units[unit] for unit in like),
            head=replace(head, persistent_bytes=0, flops=0),
            adding=self._pieces.get(ADDING, NOTHING),
            auxiliaries=tuple(tuple(networks.get((kind, unit), NetworkCost()) for unit in like) for kind in terms),
            kinds=(terms.index(kinds[0]), terms.index(kinds[1]), terms.index(kinds[2])) if terms else (0, 0, 0),
            contexts=contexts,
            final_contexts=final_contexts,
            shapes=shapes,
            context_depth=self.depth,
            segments=self.parts.segments,
            kept=tuple(kept[unit] for unit in like) if any(kept[unit].forward for unit in like) else (),
            backbone_flops=sum(self._facts[unit].flops for unit in like) + head.flops,
            update_per_module=self.per_module,
        )

    def _unit(self, unit: int, update_per_byte: int, *, kept: bool) -> UnitCost:
        facts = self._facts[unit]
        stretches = {
            part: {
                name.sides: stretch
                for (name, of), stretch in self._pieces.items()  # pyright: ignore[reportGeneralTypeIssues]
                if of == part and name.unit == unit and name.kept == kept
            }
            for part in UNIT_PARTS
        }
        return UnitCost(
            **stretches,
            extra_loss=self._has_loss(unit),
            gradient_bytes=facts.gradient_bytes,
            update_bytes=update_per_byte * facts.gradient_bytes,
            flops=facts.flops,
            parameter_count=facts.parameter_count,
        )

    def _network(
        self, name: Hashable, update_per_byte: int, *, update_bytes: int = 0, kept_bytes: int = 0
    ) -> NetworkCost:
        facts = self._facts[name]
        return NetworkCost(
            forward=self._pieces[name, False],
            backward=self._pieces[name, True],
            closing=self._pieces.get((name, "closing"), NOTHING),
            persistent_bytes=facts.persistent_bytes,
            gradient_bytes=facts.gradient_bytes,
            update_bytes=update_bytes + update_per_byte * facts.gradient_bytes,
            kept_bytes=kept_bytes,
            flops=facts.flops,
        )


def _build_chain(case: Case, parts: Parts) -> Chain:
    network = network_for(parts, case.network, case.module_count, case.height_and_width)
    with META:
        chain = network.build(get_dataset(case.dataset), case.height_and_width)
    return chain.to(memory_format=MEMORY_FORMATS[case.memory_format])


def _input_shapes(chain: Chain) -> list[Shape]:
    return [chain.image_shape, *chain.unit_shapes[:-1]]


def _terms(weights: Weights) -> Terms:
    reconstruction, local = weights.first
    return bool(reconstruction), bool(local)


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
