"""The solver on the cost profile of a case, beside the usual heuristics, checked by simulation.

The solver is exact in bytes rounded to the allocator's blocks, which no allocated peak is below. Where blocks leave
rests that are not split off, the allocated peak of a split can be higher than predicted: splits are simulated in the
order of their predicted peaks, until none that is left can be better than the best simulated one. That proves it; a
split is called optimal only where the proof was found.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from heapq import merge

from bench.balanced import Balanced, no_room, peak_of, simulate_split
from bench.cost_profile import Kinds, Profiler
from bench.segments import with_segments
from bench.simulator.model import Model, read_model
from methods.engine import is_even
from partition import Split, equal_split
from partition.baselines import block_partition, least_largest
from partition.local_modules import local_modules
from partition.module_segments import place_segments
from partition.pieces import Pieces, of_sizes, with_one_of
from partition.profile import CostProfile
from partition.runs import BALANCED, write_runs
from partition.solve import BudgetError, Solution, Solver
from results.record import Case

TRIED = 12
"""Splits simulated, at most, where the best predicted one does not reach its lower bound."""


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
                best = min(best, self.simulate(candidate), key=peak_of)
        return best

    def simulate(self, solution: Solution) -> Balanced:
        """Simulate one solution."""
        case = self.place(solution.split)
        return simulate_split(case, self.model, solution.lower_bound_bytes, solution.predicted_peak_bytes)

    def verify_within(self, budget_bytes: int, *, least_overhead: bool) -> Balanced:
        """The fewest modules, or the least added FLOPs, whose simulated peak fits.

        Raises:
            BudgetError: nothing fits.
        """
        choose = self.least_overhead if least_overhead else self.fewest_modules
        found, room = self.simulate(choose(budget_bytes)), budget_bytes
        while found.peak_bytes > budget_bytes:
            # The allocator takes more than the pieces: ask for as much less.
            room = min(room - 1, budget_bytes - (found.peak_bytes - (found.predicted_peak_bytes or 0)))
            try:
                found = self.simulate(choose(room))
            except BudgetError:
                return self._last_within(budget_bytes)
        return found

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
        best = self._least_peak_of_any()
        raise self._refuse(budget_bytes, best.predicted_peak_bytes, best.split)

    def _last_within(self, budget_bytes: int) -> Balanced:
        """The split of least predicted peak, which may fit where the allocator adds less to it than to others."""
        last = self.simulate(self._least_peak_of_any())
        if last.peak_bytes > budget_bytes:
            raise self._refuse(budget_bytes, last.peak_bytes, last.split)
        return last

    def _least_peak_of_any(self) -> Solution:
        return min((self.least_peak(count) for count in range(1, self.most + 1)), key=_rank_by_peak)

    def _refuse(self, budget_bytes: int, least_bytes: int, split: Split) -> BudgetError:
        what = f"no split of {self.case.network} under {self.case.method}"
        return no_room(what, budget_bytes, least_bytes, split.module_count, "module")

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
            # Where a number of modules has copies of its own, no other number has these networks.
            self._solvers[kinds] = Solver(self._graph(kinds, count), count if kinds[0].copies else None)
        return self._solvers[kinds]

    def _graph(self, kinds: Kinds, count: int) -> Pieces:
        if kinds not in self._graphs:
            even = self.profiler.kinds(count, even=True) == kinds
            self._graphs[kinds] = local_modules(self.profiler.profile(count, even=even))
        return self._graphs[kinds]


def _only(pieces: Pieces, sizes: tuple[int, ...]) -> Pieces:
    return pieces.keep(of_sizes(pieces, sizes))


def _with_others(pieces: Pieces, sizes: tuple[int, ...]) -> Pieces:
    return with_one_of(pieces, ~of_sizes(pieces, sizes))


def _rank_by_peak(solution: Solution) -> tuple[int, int, int]:
    return (solution.predicted_peak_bytes, *_rank_by_cost(solution))


def _rank_by_cost(solution: Solution) -> tuple[int, int]:
    return solution.added_flops, sum(size**2 for size in solution.split.sizes)
