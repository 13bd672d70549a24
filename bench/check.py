"""Simulates a suite for a baseline: every case in a process of its own, side by side."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.isolate import Outcome, run_isolated
from bench.side_by_side import isolate_each
from results.baseline import Baseline, Entry
from results.record import Case, Environment

if TYPE_CHECKING:
    from bench.isolate import Report


class CheckError(RuntimeError):
    """A check that cannot be made."""


def simulate_entry(case: Case, report: "Report") -> Entry:
    """Simulated memory of one case, with what holds it. Runs in a process of its own."""
    from bench.simulator.simulate import simulate_case  # noqa: PLC0415 - torch only in that process

    report("simulate")
    readings, _ = simulate_case(case)
    return Entry(
        case=case,
        status="ok",
        requested_bytes=readings.peak_requested_bytes,
        allocated_bytes=readings.peak_allocated_bytes,
        reserved_bytes=readings.peak_reserved_bytes,
        training_flops=readings.training_flops,
        peak_phase=readings.peak_phase,
        holders=tuple((each.category, each.module, each.bytes) for each in readings.peak_holders or ()),
    )


def simulate_suite(name: str, cases: Sequence[Case], time_limit: float, observe: Callable[[], None]) -> Baseline:
    """Simulate every case of a suite.

    Args:
        name: the suite's.
        cases: at least one.
        time_limit: seconds for each.
        observe: called after each case.

    Raises:
        CheckError: there is no case, or torch does not start. A case that fails is an entry that says so.
    """
    if not cases:
        raise CheckError(f"suite '{name}' has no case: there is nothing to check")
    asked = run_isolated("bench.worker:environment", None, time_limit=120.0)
    if asked.status != "ok":
        raise CheckError(f"torch does not start: {asked.message}")
    environment: Environment = asked.result

    entries: dict[Case, Entry] = {}
    for case, outcome in isolate_each("bench.check:simulate_entry", cases, time_limit=time_limit):
        entries[case] = _to_entry(case, outcome)
        observe()
    return Baseline(
        suite=name,
        torch_version=environment.torch_version,
        simulator_version=environment.simulator_version,
        device_name=environment.device_name,
        entries=tuple(entries[case] for case in cases),
    )


def _to_entry(case: Case, outcome: Outcome) -> Entry:
    if outcome.status == "ok":
        return outcome.result
    return Entry(case=case, status=outcome.status, message=outcome.message)
