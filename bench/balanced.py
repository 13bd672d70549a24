"""A split for a case, simulated, and what is known about how good it is."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from bench.highest import by_module, highest_points
from bench.simulator.model import Model
from bench.simulator.simulate import Simulation, simulate_case
from bench.workloads.networks import network_for
from methods.registry import read_spec
from partition import Split
from partition.solve import BudgetError
from reports.units import memory_unit
from results.record import Case, Readings

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
    lower_bound_bytes: int | None
    """No split into as many modules has a lower allocated peak; None: no bound is known."""
    proof: Proof | None
    """Of what `optimal` says."""
    readings: Readings
    simulation: Simulation
    """Of the round that needs most memory, where the method has rounds."""
    unit_names: tuple[str, ...]

    @property
    def optimal(self) -> bool:
        """Whether it is proven that no split into as many modules has a lower allocated peak."""
        return self.proof is not None

    def modules(self) -> list[Counter[str]]:
        """For every module, what is alive at its highest point, as `highest_points` tells it apart."""
        return highest_points(self.simulation, by_module, self.split.module_count)


def simulate_split(
    case: Case, model: Model, lower_bound_bytes: int | None, predicted_peak_bytes: int | None = None
) -> Balanced:
    """Simulate a case whose boundaries are known."""
    readings, simulation = simulate_case(case, model)
    peak = readings.peak_allocated_bytes or 0
    network = network_for(read_spec(case.method).parts, case.network, case.module_count, case.height_and_width)
    return Balanced(
        case=case,
        split=Split(readings.split_sizes or ()),
        peak_bytes=peak,
        predicted_peak_bytes=predicted_peak_bytes,
        lower_bound_bytes=lower_bound_bytes,
        proof="bound" if peak == lower_bound_bytes else None,
        readings=readings,
        simulation=simulation,
        unit_names=network.unit_names,
    )


def no_room(what: str, budget_bytes: int, least_bytes: int, count: int, piece: str) -> BudgetError:
    """What to raise where `what`, "no split of ...", fits into a budget; `count` pieces have the least peak."""
    units = (memory_unit(budget_bytes), memory_unit(least_bytes))
    budget, least = (
        f"{show(size)} {unit}" for (unit, show), size in zip(units, (budget_bytes, least_bytes), strict=True)
    )
    return BudgetError(
        f"{what} fits into {budget} ({budget_bytes:,} bytes); the least peak is {least} ({least_bytes:,} bytes), with "
        f"{count} {piece}{'s' if count > 1 else ''}: allow more memory or take a smaller batch",
        least_bytes,
    )


def peak_of(found: Balanced) -> int:
    """Simulated peak, to rank by."""
    return found.peak_bytes
