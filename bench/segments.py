"""Where to cut a network that is trained as one module into checkpointed segments, checked by simulation.

A run of units may be checkpointed or kept (`partition/segments.py`). The solver is exact in bytes rounded to the
allocator's blocks, which no allocated peak is below; what it places is simulated, and called optimal only where the
simulated peak equals the lower bound.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt

from bench.balanced import no_room
from bench.cost_profile import Profiler
from bench.highest import by_run, highest_points
from bench.simulator.model import Model, read_model
from bench.simulator.simulate import Simulation, simulate_case
from bench.workloads.networks import get_network
from partition.memory import step_memory
from partition.runs import BALANCED, Runs, make_runs, write_runs
from partition.search import flops_of
from partition.segments import checkpoint_segments
from partition.solve import BudgetError, Solution, Solver
from partition.split import Split, SplitError, equal_split
from results.record import Case, Readings

PUBLISHED = 5
"""Segments with which InfoPro's printed memory is met (`methods/checkpointing.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Segments of a case, simulated."""

    case: Case
    """The case with its segments."""
    runs: Runs
    predicted_peak_bytes: int | None
    """From the pieces; None: the step is not the sum of them."""
    peak_bytes: int
    """Allocated peak of the simulated case."""
    lower_bound_bytes: int | None
    """No runs, of this number where one was asked for, have a lower allocated peak; None: no bound is known."""
    readings: Readings
    simulation: Simulation
    unit_names: tuple[str, ...]

    @property
    def optimal(self) -> bool:
        """Whether it is proven that no runs of which this number was asked have a lower allocated peak."""
        return self.peak_bytes == self.lower_bound_bytes

    def highest_points(self) -> list[Counter[str]]:
        """For every run, what is alive at the highest point of its forward and backward, as `bench.highest` says."""
        names = [[self.unit_names[unit] for unit in run.units] for run in self.runs]
        return highest_points(self.simulation, by_run(names), len(self.runs))


class Placer:
    """Places the segments of one network and batch; the case's own segments count for nothing."""

    def __init__(self, case: Case, model: Model | None = None) -> None:
        """Trace the case.

        Raises:
            ProfileError: the step is not the sum of its pieces.
        """
        self.case = replace(case, method=with_segments(case.method, BALANCED))
        self.model = model or read_model()
        self.profiler = Profiler(self.case, self.model)
        self.profile = self.profiler.profile(1)
        self._split = Split((len(self.profile.units),))

    @cached_property
    def _graph(self) -> tuple[Solver, Runs]:
        pieces, runs = checkpoint_segments(self.profile)
        return Solver(pieces, cost_of=flops_of), runs

    def least_peaks(self) -> list[Solution]:
        """Runs of least peak for every number of them; among equal ones those that recompute least."""
        return self._graph[0].least_peaks()

    def least_peak(self, count: int | None = None) -> Solution:
        """Runs of least peak, of any number or of this one.

        Raises:
            SplitError: fewer units than segments.
        """
        if count is not None:
            equal_split(len(self.profile.units), count)  # says what is wrong
            return self._graph[0].least_peak(count)
        return min(self.least_peaks(), key=lambda s: (s.predicted_peak_bytes, s.added_flops))

    def within_budget(self, budget_bytes: int) -> Solution:
        """The runs that recompute least within a budget.

        Raises:
            BudgetError: nothing fits; says what would.
        """
        try:
            return self._graph[0].least_overhead(budget_bytes)
        except BudgetError as error:
            best = self.least_peak()
            what = f"no choice of checkpointed segments of {self.case.network}"
            count = best.split.module_count
            raise no_room(what, budget_bytes, best.predicted_peak_bytes, count, "segment") from error

    def runs(self, solution: Solution) -> Runs:
        """The runs of a solution."""
        return tuple(self._graph[1][arc] for arc in solution.path)

    def rules(self) -> dict[str, tuple[Runs, int]]:
        """Segments of equal length, as published and as many as the root of the number of units: runs and peak."""
        units = len(self.profile.units)
        counts = {f"equal, {PUBLISHED} as published": min(PUBLISHED, units), f"equal, root of {units}": isqrt(units)}
        found = {}
        for name, count in counts.items():
            runs = make_runs(equal_split(units, count).sizes)
            found[name] = runs, step_memory(replace(self.profile, segments=runs), self._split).peak_bytes
        return found

    def verify(self, solution: Solution, *, lower_bound_bytes: int | None = None) -> Placed:
        """Simulate a solution; the lower bound is that of its own number of runs unless another is given."""
        runs = self.runs(solution)
        case = replace(self.case, method=with_segments(self.case.method, write_runs(runs)))
        bound = solution.lower_bound_bytes if lower_bound_bytes is None else lower_bound_bytes
        return _simulate(case, runs, self.model, bound, solution.predicted_peak_bytes)


def search_segments(
    case: Case, model: Model | None = None, count: int | None = None, budget_bytes: int | None = None
) -> Placed:
    """Equal segments of least simulated peak, or of least recomputation within a budget, where there is no profile.

    Args:
        case: the case; its own segments count for nothing.
        model: the device; None for `read_model()`.
        count: how many segments; None: any number up to twice the root of that of the units.
        budget_bytes: most memory; None: the least there is.

    Raises:
        SplitError: fewer units than segments.
        BudgetError: nothing that was simulated fits.
    """
    model = model or read_model()
    names = get_network(case.network).unit_names
    counts = range(1, min(len(names), 2 * isqrt(len(names)) + 1) + 1) if count is None else [count]
    every = [make_runs(equal_split(len(names), number).sizes) for number in counts]
    cases = [replace(case, method=with_segments(case.method, write_runs(runs))) for runs in every]
    tried = [_simulate(each, runs, model) for each, runs in zip(cases, every, strict=True)]
    best = min(tried, key=lambda placed: placed.peak_bytes)
    if budget_bytes is None:
        return best
    fitting = [placed for placed in tried if placed.peak_bytes <= budget_bytes]
    if not fitting:
        what = f"no number of equal segments of {case.network}"
        raise no_room(what, budget_bytes, best.peak_bytes, len(best.runs), "segment")
    return min(fitting, key=lambda placed: placed.readings.theoretical_overhead or 0)


def _simulate(case: Case, runs: Runs, model: Model, bound: int | None = None, predicted: int | None = None) -> Placed:
    readings, simulation = simulate_case(case, model)
    return Placed(
        case=case,
        runs=runs,
        predicted_peak_bytes=predicted,
        peak_bytes=readings.peak_allocated_bytes or 0,
        lower_bound_bytes=bound,
        readings=readings,
        simulation=simulation,
        unit_names=get_network(case.network).unit_names,
    )


def with_segments(method: str, segments: str) -> str:
    """A canonical spec that checkpoints, with other segments."""
    changed, count = re.subn(r"\bcheckpoint\b(\[[^\]]*\])?", f"checkpoint[segments={segments}]", method)
    if count != 1:
        raise SplitError(f"method '{method}' has no checkpointed segments: add '+checkpoint'")
    return changed
