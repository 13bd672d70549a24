"""The best boundaries for a case: the solver on its cost profile, beside the usual heuristics, checked by simulation.

The solver is exact in bytes rounded to the allocator's blocks, which no allocated peak is below. Where blocks leave
rests that are not split off, the allocated peak of a split can be higher than predicted: splits are simulated in the
order of their predicted peaks, until none that is left can be better than the best simulated one. That proves it; a
split is called optimal only where the proof was found. Methods without a profile are searched by simulation alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from heapq import merge
from itertools import pairwise
from typing import Literal

from bench.cost_profile import Kinds, ProfileError, Profiler, bounding_method
from bench.segments import Placer, with_segments
from bench.simulator.model import Model, read_model
from bench.simulator.simulate import Simulation, simulate_case
from bench.simulator.stream import categorise
from bench.splits import find_split, is_placed
from bench.workloads.networks import get_network, network_for
from methods.engine import is_even
from methods.registry import read_spec
from partition import Split, SplitError, equal_split
from partition.baselines import block_partition, least_largest
from partition.local_modules import local_modules
from partition.module_segments import place_segments
from partition.pieces import Pieces, of_sizes, with_one_of
from partition.profile import CostProfile
from partition.runs import BALANCED, write_runs
from partition.solve import BudgetError, Solution, Solver
from results.record import Case, Readings

TRIED = 12
"""Splits simulated, at most, where the best predicted one does not reach its lower bound."""

Proof = Literal["bound", "enumeration"]
"""Why no split is better: its peak is the lower bound of all, or all that may be better were simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """A split for a case, simulated."""

    case: Case
    """The case with its boundaries and checkpointed segments."""
    split: Split
    peak_bytes: int
    """Allocated peak of the simulated case."""
    predicted_peak_bytes: int | None
    """From the pieces; None: the method has no profile."""
    lower_bound_bytes: int
    """No split into as many modules has a lower allocated peak."""
    proof: Proof | None
    """Of what `optimal` says."""
    readings: Readings
    simulation: Simulation
    unit_names: tuple[str, ...]

    @property
    def optimal(self) -> bool:
        """Whether it is proven that no split into as many modules has a lower allocated peak."""
        return self.proof is not None

    def modules(self) -> list[Counter[str]]:
        """For every module, what is alive at its highest point: bytes by kind.

        `activations`, `auxiliary` and `context` were made by the module, `transient` dies where it was born, and `held`
        is everything else: parameters, gradients, optimizer state, the batch, what earlier modules left.
        """
        stream, ledger = self.simulation.stream, self.simulation.ledger
        kinds = categorise(stream)
        highest: dict[int, tuple[int, Counter[str]]] = {}
        alive: dict[int, tuple[str, int | None, int]] = {}
        last_step = stream.step_events(-1)
        module, now = None, Counter[tuple[str, int | None]]()
        for number, event in enumerate(stream.events[: last_step.stop]):
            if event.action == "alloc":
                alive[event.storage] = (kinds[event.storage], event.place.module, ledger.blocks[event.storage])
                now[alive[event.storage][:2]] += ledger.blocks[event.storage]
            else:
                kind, place, size = alive.pop(event.storage)
                now[kind, place] -= size
            if number < last_step.start or event.place.phase == "optimizer":
                continue
            module = event.place.module if event.place.module is not None else module
            total = ledger.allocated[number]
            if module is not None and (module not in highest or total > highest[module][0]):
                highest[module] = (total, _sort_out(now, module))
        return [highest[module][1] for module in range(self.split.module_count)]


def _sort_out(alive: Counter[tuple[str, int | None]], module: int) -> Counter[str]:
    """Bytes by kind as `Balanced.modules` tells them apart."""
    kinds: Counter[str] = Counter()
    for (category, place), size in alive.items():
        if category in ("temporary", "workspace"):
            kinds["transient"] += size
        elif category in ("activations", "auxiliary", "context") and place == module:
            kinds[category] += size
        else:
            kinds["held"] += size
    return kinds


class Balancer:
    """Solves for one network, method and batch; the case's own split and number of modules count for nothing."""

    def __init__(self, case: Case, model: Model | None = None) -> None:
        """Trace the case.

        Raises:
            ProfileError: the method has no profile.
        """
        self.case = case
        self.model = model or read_model()
        self.profiler = Profiler(case, self.model)
        self._graphs: dict[Kinds, Pieces] = {}
        self._solvers: dict[object, Solver] = {}

    @cached_property
    def most(self) -> int:
        """Most modules there can be."""
        return 1 if self.profiler.parts.local_loss is None else len(self.profiler.chain.units)

    def least_peak(self, count: int) -> Solution:
        """The split into `count` modules of least predicted peak.

        Raises:
            SplitError: there is no such split.
        """
        if not 0 < count <= self.most:
            equal_split(self.most, count)  # says what is wrong
        return min((solver.least_peak(count) for solver in self._solvers_for(count)), key=_rank_by_peak)

    def within_budget(self, count: int, budget_bytes: int) -> Solution | None:
        """The split into `count` modules that adds least FLOPs and whose predicted peak fits; None: no such."""
        found = (solver.within_budget(count, budget_bytes) for solver in self._solvers_for(count))
        return min((solution for solution in found if solution), key=_rank_by_cost, default=None)

    def fewest_modules(self, budget_bytes: int) -> Solution:
        """The fewest modules that fit. Raises BudgetError where nothing does."""
        return self._first_within(budget_bytes, lambda found: next(found, None))

    def least_overhead(self, budget_bytes: int) -> Solution:
        """Any number of modules that fit, with the least added FLOPs. Raises BudgetError where nothing fits."""
        return self._first_within(budget_bytes, lambda found: min(found, key=_rank_by_cost, default=None))

    def evaluate(self, split: Split) -> Solution:
        """What the pieces say of a given split."""
        return self._solver(self.profiler.kinds(split.module_count, even=is_even(split)), split.module_count).evaluate(
            split
        )

    def heuristics(self, count: int) -> dict[str, Split]:
        """How others would split, by name."""
        profile = self.profile(count)
        kept = [max(0, *(net for net, _ in unit.forward.values())) for unit in profile.units]
        return {
            "equal units": equal_split(len(profile.units), count),
            "equal parameters": least_largest([unit.parameter_count for unit in profile.units], count),
            "equal FLOPs": least_largest([unit.flops for unit in profile.units], count),
            "block partition": block_partition(kept, count),
        }

    def profile(self, count: int) -> CostProfile:
        """Costs for splits into `count` modules whose sizes differ."""
        return self.profiler.profile(count)

    def verify(self, solution: Solution) -> Balanced:
        """Simulate the solution of least peak and, where it allocates more than predicted, others that may be better.

        Returns:
            The best that was simulated, with a proof unless `TRIED` splits were not enough for one.
        """
        best = self.simulate(solution)
        if best.proof:
            return best
        tried = {solution.split}
        for candidate in self.candidates(solution.split.module_count):
            if candidate.predicted_peak_bytes >= best.peak_bytes:
                return replace(best, proof="enumeration")
            if len(tried) == TRIED:
                break
            if candidate.split not in tried:
                tried.add(candidate.split)
                best = min(best, self.simulate(candidate), key=_peak_of)
        return best

    def simulate(self, solution: Solution) -> Balanced:
        """Simulate one solution."""
        case = self.place(solution.split)
        return _simulate(case, self.model, solution.lower_bound_bytes, solution.predicted_peak_bytes)

    def verify_within(self, budget_bytes: int, *, least_overhead: bool) -> Balanced:
        """The fewest modules, or the least added FLOPs, whose simulated peak fits.

        Raises:
            BudgetError: nothing fits.
        """
        choose = self.least_overhead if least_overhead else self.fewest_modules
        room = budget_bytes
        while True:
            found = self.simulate(choose(room))
            if found.peak_bytes <= budget_bytes:
                return found
            # The allocator takes more than the pieces: ask for as much less.
            room = min(room - 1, budget_bytes - (found.peak_bytes - (found.predicted_peak_bytes or 0)))

    def place(self, split: Split) -> Case:
        """The case with this split, and with the best segments in its modules where they are to be placed."""
        case = replace(self.case, module_count=split.module_count, split_policy=str(split))
        if self.profiler.parts.segments != BALANCED:
            return case
        runs = place_segments(self.profiler.profile(split.module_count, even=is_even(split)), split)
        return replace(case, method=with_segments(case.method, write_runs(runs)))

    def candidates(self, count: int) -> Iterator[Solution]:
        """Every split into `count` modules, none before one of lower predicted peak."""
        return merge(
            *(solver.candidates(count) for solver in self._solvers_for(count)),
            key=lambda solution: solution.predicted_peak_bytes,
        )

    def _first_within(self, budget_bytes: int, choose: Callable[[Iterator[Solution]], Solution | None]) -> Solution:
        found = (self.within_budget(count, budget_bytes) for count in range(1, self.most + 1))
        solution = choose(solution for solution in found if solution)
        if solution is not None:
            return solution
        best = min((self.least_peak(count) for count in range(1, self.most + 1)), key=_rank_by_peak)
        raise BudgetError(
            f"no split of {self.case.network} under {self.case.method} fits into {budget_bytes:,} bytes; the least "
            f"peak is {best.predicted_peak_bytes:,} bytes, with {best.split.module_count} modules",
            best.predicted_peak_bytes,
        )

    def _solvers_for(self, count: int) -> list[Solver]:
        """Solvers that together know every split into `count` modules.

        Published loss weights differ between splits whose sizes differ by one at most and others, and so may the
        networks that are left out because their weight is 0.
        """
        even, uneven = (self.profiler.kinds(count, even=even) for even in (True, False))
        if even == uneven:
            return [self._solver(uneven, count)]
        size = len(self.profiler.chain.units) // count
        solvers = []
        for kinds, narrow in ((even, _only), (uneven, _with_others)):
            key = (kinds, size, narrow)
            if key not in self._solvers:
                self._solvers[key] = Solver(narrow(self._graph(kinds, count), (size, size + 1)))
            solver = self._solvers[key]
            if solver.bounds.least(count) is not None:
                solvers.append(solver)
        return solvers

    def _solver(self, kinds: Kinds, count: int) -> Solver:
        if kinds not in self._solvers:
            self._solvers[kinds] = Solver(self._graph(kinds, count))
        return self._solvers[kinds]

    def _graph(self, kinds: Kinds, count: int) -> Pieces:
        if kinds not in self._graphs:
            even = self.profiler.kinds(count, even=True) == kinds
            self._graphs[kinds] = local_modules(self.profiler.profile(count, even=even))
        return self._graphs[kinds]


def balance(case: Case, model: Model | None = None) -> Balanced:
    """The best split of a case into its number of modules.

    Raises:
        SplitError: there is no split into so many modules.
    """
    try:
        balancer = Balancer(case, model)
    except ProfileError:
        return search_by_simulation(case, model)
    return balancer.verify(balancer.least_peak(case.module_count))


def place_boundaries(case: Case, model: Model | None = None) -> Case:
    """A case whose split is `balanced` with the sizes that this means; any other as it is.

    Args:
        case: any case.
        model: the device whose memory counts; None for `read_model()`.
    """
    if is_placed(case):
        return case
    return _place(case, model) if model else _place_by_default(case)


@cache
def _place_by_default(case: Case) -> Case:
    return _place(case, read_model())


def _place(case: Case, model: Model) -> Case:
    parts = read_spec(case.method).parts
    if parts.segments != BALANCED:
        return replace(case, split_policy="equal") if case.module_count == 1 else balance(case, model).case
    if parts.local_loss is None:
        placer = Placer(replace(case, split_policy="equal"), model)
        return placer.verify(placer.least_peak()).case
    if case.split_policy == BALANCED:
        return balance(case, model).case
    network = network_for(parts, case.network, case.module_count, case.height_and_width)
    return Balancer(case, model).place(find_split(case.split_policy, network, case.module_count))


def search_by_simulation(case: Case, model: Model | None = None, most: int = 24) -> Balanced:
    """A good split of a method without a profile: heuristics and their neighbours, each simulated.

    Where a method is known that never holds more with the same split, its lower bound is one here too, and splits are
    first simulated in the order of its peaks: once those left are no better there than the best is here, that is
    proven. Else the lower bound is what every split holds all through the step: backbone, its optimizer state, and the
    batch.

    Raises:
        SplitError: the method has no one step, or no one backbone, whose boundaries could be placed.
    """
    parts = read_spec(case.method).parts
    if parts.sequential or parts.deeper:
        why = "trains modules in rounds" if parts.sequential else "deepens the backbone by the number of modules"
        raise SplitError(f"'{case.method}' {why}: its boundaries are not placed, name a split such as equal or sizes")
    bounding = bounding_method(case.method)
    stand_in = Balancer(replace(case, method=bounding or "dgl"), model)
    count = case.module_count
    bound = stand_in.least_peak(count).lower_bound_bytes if bounding else stand_in.profile(count).base_bytes
    known: dict[Split, Balanced] = {}

    def try_split(split: Split) -> None:
        if split not in known and len(known) < most:
            known[split] = _simulate(replace(case, split_policy=str(split)), stand_in.model, bound, None)

    for candidate in stand_in.candidates(count) if bounding else ():
        best = min(known.values(), key=_peak_of, default=None)
        if best is not None and candidate.predicted_peak_bytes >= best.peak_bytes:
            return replace(best, proof=best.proof or "enumeration")
        if len(known) == TRIED:
            break
        try_split(candidate.split)
    for split in (stand_in.least_peak(count).split, *stand_in.heuristics(count).values()):
        try_split(split)
    _walk(known, try_split)
    return min(known.values(), key=_peak_of)


def _walk(known: dict[Split, Balanced], try_split: Callable[[Split], None]) -> None:
    """Try the neighbours of the best split known, as long as that makes splits known."""
    before = 0
    while len(known) > before:
        before = len(known)
        for split in neighbours(min(known.values(), key=_peak_of).split):
            try_split(split)


def _simulate(case: Case, model: Model, lower_bound_bytes: int, predicted_peak_bytes: int | None) -> Balanced:
    readings, simulation = simulate_case(case, model)
    peak = readings.peak_allocated_bytes or 0
    return Balanced(
        case=case,
        split=Split(readings.split_sizes or ()),
        peak_bytes=peak,
        predicted_peak_bytes=predicted_peak_bytes,
        lower_bound_bytes=lower_bound_bytes,
        proof="bound" if peak == lower_bound_bytes else None,
        readings=readings,
        simulation=simulation,
        unit_names=get_network(case.network).unit_names,
    )


def _peak_of(found: Balanced) -> int:
    return found.peak_bytes


def neighbours(split: Split) -> list[Split]:
    """Splits with one boundary one unit away."""
    near = []
    for left, right in pairwise(range(split.module_count)):
        for move in (-1, 1):
            sizes = list(split.sizes)
            sizes[left] += move
            sizes[right] -= move
            if min(sizes) > 0:
                near.append(Split(tuple(sizes)))
    return near


def _only(pieces: Pieces, sizes: tuple[int, ...]) -> Pieces:
    return pieces.keep(of_sizes(pieces, sizes))


def _with_others(pieces: Pieces, sizes: tuple[int, ...]) -> Pieces:
    return with_one_of(pieces, ~of_sizes(pieces, sizes))


def _rank_by_peak(solution: Solution) -> tuple[int, int, int]:
    return (solution.predicted_peak_bytes, *_rank_by_cost(solution))


def _rank_by_cost(solution: Solution) -> tuple[int, int]:
    return solution.added_flops, sum(size**2 for size in solution.split.sizes)
