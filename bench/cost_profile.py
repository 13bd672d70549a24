"""The cost profile of a case: every unit, auxiliary and context network traced under the simulator, as integers.

A few splits of the chain are simulated, in which every piece occurs under every condition that changes what it does to
memory (`trace_plan.py`, `overlap_plan.py`). A piece that is seen twice under one condition must do the same; that is
checked, and so is that the pieces of every traced split add up to its peak. Both together entitle `partition` to put
the pieces together in any other way. Alike units are traced once.

Bytes are requests rounded to the allocator's blocks of 512. The simulator's allocated peak is never below that, and
equal where no block leaves a rest that is too small to be split off.
"""

import re
from dataclasses import replace

from bench.overlap_plan import plan_overlapping
from bench.profile_notes import Kinds, Notes, ProfileError, Shape, Terms
from bench.short_chain import mark_units, shorten
from bench.simulator.model import Model, read_model
from bench.simulator.pieces import PieceError
from bench.simulator.trace_split import META, Shared, Trace, trace_split
from bench.trace_plan import PlanError, name_pieces, number_shapes, plan_traces
from bench.training import MEMORY_FORMATS
from bench.workloads.networks import network_for
from methods import chain as chains
from methods.api import Parts, Weights
from methods.chain import Chain
from methods.datasets import get_dataset
from methods.engine import loss_weights
from methods.overlap import count_link_units
from methods.registry import read_spec
from methods.released_copies import counts_apart, units_to_copy
from partition import Split
from partition.memory import step_memory
from partition.overlap import Overlap
from partition.profile import CostProfile
from partition.runs import BALANCED, Segments
from results.record import Case

__all__ = ["Kinds", "ProfileError", "Profiler", "bounding_method"]

BOTH = Terms()


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
        _refuse(case.method, self.parts)
        self.depth = self.parts.context.features if self.parts.context else 0
        self.chain = _build_chain(case, self.parts)
        self.shapes = number_shapes(_input_shapes(self.chain))
        self._copies = self._find_copies()
        self.short, self.like = self.chain, tuple(range(len(self.chain.units)))
        if self.parts.local_loss is not None or self.parts.segments == BALANCED:
            self.short, self.like = shorten(self.chain, self._most_alike(), self._copy_marks())
        number = dict(zip(_input_shapes(self.chain), self.shapes, strict=True))
        self.short_shapes = tuple(number[shape] for shape in _input_shapes(self.short))
        self._short_overlap = find_overlap(self.short, self.parts)
        self._shared = Shared()
        self._terms: set[Terms] = set()
        self._notes = Notes(
            f"{case.method} on {case.network}",
            frozenset(map(int, self.short.extra_losses)),
            self.depth,
            per_module=self.parts.step == "per_module",
        )
        try:
            plan = self._plan()
        except PlanError as error:
            raise ProfileError(f"{case.method} on {case.network}: {error}") from error
        self._any_segments = plan[-1][1]
        for trace in [self._trace(split, BOTH, segments) for split, segments in plan]:
            self._check(trace, BOTH)

    def profile(self, module_count: int, *, even: bool = False) -> CostProfile:
        """Costs for splits into so many modules; with `even`, for those whose sizes differ by one at most.

        The number of modules decides the published loss weights, and these whether a network is left out because its
        weight is 0; and which units are copied into auxiliary networks. Numbers of modules with the same `kinds` have
        the same profile.

        Raises:
            ProfileError: the method's step is not the sum of its pieces.
        """
        kinds = self.kinds(module_count, even=even)
        for terms in sorted(set(kinds) - self._terms):
            self._check(self._trace(Split((1,) * len(self.short.units)), terms, self._any_segments), terms)
        chain = Shape(
            like=self.like,
            shapes=self.shapes,
            kinds=kinds,
            overlap=find_overlap(self.chain, self.parts),
            segments=self.parts.segments,
        )
        return self._notes.assemble(chain)

    def kinds(self, module_count: int, *, even: bool = False) -> Kinds:
        """What the losses of modules are made of."""
        both = Terms(copies=module_count if module_count in self._copies else 0)
        if not self.parts.decoder or self.parts.run_zero_weight or module_count == 1:
            return both, both, both
        pairs = loss_weights(self.chain, self.parts, module_count, even=even)
        first, between, last = (
            both._replace(reconstruction=bool(a), local=bool(b))
            for a, b in (pairs[0], pairs[min(1, len(pairs) - 1)], pairs[-1])
        )
        return first, between, last

    def _plan(self) -> list[tuple[Split, Segments | None]]:
        """Splits of the short chain to trace, with their checkpointed segments."""
        overlap = find_overlap(self.chain, self.parts)
        if overlap is not None and self._short_overlap is not None:
            splits = plan_overlapping(self._short_overlap, overlap, self.like, len(self.short.units))
            return [(split, None) for split in splits]
        one_module = self.parts.local_loss is None
        return plan_traces(self.short_shapes, self.like, self.depth, self.parts.segments, one_module=one_module)

    def _trace(self, split: Split, terms: Terms, segments: Segments | None) -> Trace:
        """Simulate a split of the short chain and note what its pieces did."""
        parts = replace(self.parts, segments=segments)
        if parts.decoder and not parts.run_zero_weight:
            pair = (float(terms.reconstruction), float(terms.local))
            parts = replace(parts, weights=Weights(first=pair, last=pair))
        if parts.leap is not None:
            parts = replace(parts, leap=replace(parts.leap, copies=self._short_copies(terms.copies)))
        try:
            trace = trace_split(self.case, self.short, split, parts, self.model, self._shared, self._short_overlap)
        except PieceError as error:
            raise ProfileError(f"{self.case.method} on {self.case.network}: {error}") from error
        self._terms.add(terms)
        self._notes.note_trace(trace, name_pieces(split, segments, self.short_shapes, self.depth), terms)
        return trace

    def _check(self, trace: Trace, terms: Terms) -> None:
        """The pieces of a traced split add up to its peak."""
        chain = Shape(
            like=range(len(self.short.units)),
            shapes=self.short_shapes,
            kinds=(terms, terms, terms),
            overlap=self._short_overlap,
            segments=trace.parts.segments,
        )
        peak = step_memory(self._notes.assemble(chain), trace.split).peak_bytes
        if peak != trace.peak_bytes:
            raise ProfileError(
                f"{self.case.method} on {self.case.network} is not the sum of its pieces: {trace.split} has a peak "
                f"of {trace.peak_bytes} bytes, its pieces one of {peak}"
            )

    # --- alike units --------------------------------------------------------------------------------------------------

    def _most_alike(self) -> int:
        """Units kept of a run of alike ones."""
        if self.parts.link is not None:
            overlap = find_overlap(self.chain, self.parts)
            # The second of a run may end the front of a module whose link, and the last module, are behind it.
            return max(4, max(overlap.links[:-1], default=0) + 3 if overlap else 0)
        if self.parts.cascade is not None:
            return 4
        return max(4 if self.depth or self.parts.segments else 3, self.depth + 1)

    def _find_copies(self) -> dict[int, list[tuple[int, ...]]]:
        """Units copied behind every end, by number of modules; 0 for all others."""
        if self.parts.leap is None:
            return {}
        chain = self.chain
        shapes = (chain.image_shape, *chain.unit_shapes)
        ends = range(len(chain.units) - 1)
        return {
            count: [*(units_to_copy(chain.name, count, chain.unit_names, shapes, end) for end in ends), ()]
            for count in (0, *counts_apart(chain.name))
        }

    def _copy_marks(self) -> list[tuple[object, ...]]:
        """For every unit, what is copied behind it; empty where nothing ever is."""
        if not self._copies:
            return []
        numbers = number_shapes(mark_units(self.chain))
        return [
            tuple(tuple(numbers[unit] for unit in copies[end]) for copies in self._copies.values())
            for end in range(len(self.chain.units))
        ]

    def _short_copies(self, module_count: int) -> tuple[tuple[int, ...], ...]:
        """Units of the short chain copied behind each of its units."""
        stands_for = {short: unit for unit, short in reversed(list(enumerate(self.like)))}
        copies = self._copies[module_count]
        return tuple(
            tuple(self.like[unit] for unit in copies[stands_for.get(short, len(self.like) - 1)])
            for short in range(len(self.short.units))
        )


def bounding_method(method: str) -> str | None:
    """A method with a profile whose step never holds more than that of another, for any split; None: none is known.

    The step of ContSup with middle sources is that of [R1E] with more in it: encoders of the middle inputs, what these
    keep, and the inputs themselves, held longer. Nothing is let go earlier, so that no peak is lower.
    """
    bounding = re.sub(r"M[12]R1E", "R1E", method)
    if bounding == method:
        return None
    try:
        _refuse(bounding, read_spec(bounding).parts)
    except ProfileError:
        return None
    return bounding


def find_overlap(chain: Chain, parts: Parts) -> Overlap | None:
    """How far the losses of a method reach in a chain; None: not beyond their modules."""
    if parts.link is not None:
        counts = (count_link_units(chain, range(unit + 1), parts.link) for unit in range(len(chain.units)))
        return Overlap(links=tuple(counts))
    if parts.cascade is not None:
        return Overlap(window=parts.cascade.modules, own=bool(parts.cascade.weights[0]), alone=parts.cascade.alone)
    return None


def _refuse(method: str, parts: Parts) -> None:
    """Raise ProfileError for a method whose step is no sum of pieces."""
    overlaps = parts.link is not None or parts.cascade is not None
    reasons = (
        (parts.sequential, "trains one module per step, in rounds, which no sum over a split covers"),
        (parts.deeper, "deepens the backbone by the number of modules"),
        (parts.cascade and parts.cascade.repeat, "runs windows again, whose units occur twice in one backward"),
        (overlaps and parts.segments, "recomputes segments once for every loss that passes through them"),
        (overlaps and parts.context and parts.context.features, "keeps context that several modules' losses reach"),
        (parts.context and parts.context.middles, "reads context of modules further away"),
    )
    for wrong, reason in reasons:
        if wrong:
            raise ProfileError(f"'{method}' {reason}")


def _build_chain(case: Case, parts: Parts) -> Chain:
    network = network_for(parts, case.network, case.module_count, case.height_and_width)
    with META:
        chain = network.build(get_dataset(case.dataset), case.height_and_width)
    return chain.to(memory_format=MEMORY_FORMATS[case.memory_format])


def _input_shapes(chain: Chain) -> list[chains.Shape]:
    return [chain.image_shape, *chain.unit_shapes[:-1]]
