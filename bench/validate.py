"""The simulator beside the CUDA device of this machine, case by case.

The device is asked for the workspace of every convolution of the cases, then runs each case in a process of its own;
the same cases are simulated for a device of the same properties and workspaces. What the device said is ground truth.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from bench.ground_truth import GroundTruth, TrueCase
from bench.isolate import run_isolated
from results.record import Case

PEAKS = ("requested", "allocated", "reserved")
STEPS: tuple[Literal["first", "steady"], ...] = ("first", "steady")


class ValidationError(RuntimeError):
    """There is nothing to validate against, or a case cannot be simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case of the truth beside its simulation."""

    truth: TrueCase
    simulated: dict[str, dict[str, int]]
    """Bytes by step and kind."""

    def error(self, kind: str, step: Literal["first", "steady"] = "steady") -> float | None:
        """Simulated over measured peak, less one; None where the case did not run on the device."""
        measured = getattr(self.truth, step)
        return None if measured is None else self.simulated[step][kind] / measured[kind] - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The errors of one kind of peak over all cases that ran."""

    step: str
    kind: str
    exact_count: int
    case_count: int
    median: float
    """Of the errors without their sign."""
    worst: float
    """With its sign."""
    worst_label: str


def record_truth(
    cases: Iterable[Case],
    time_limit: float,
    track: Callable[[list[Case]], Iterable[Case]] = iter,
    total_limit: float = math.inf,
) -> GroundTruth:
    """Ask the device of this machine.

    Args:
        cases: what it runs.
        time_limit: seconds after which a case is stopped.
        track: shows progress over the cases.
        total_limit: seconds after which no case is begun; those that are left are not in the truth.

    Raises:
        ValidationError: there is no CUDA device, or a case cannot be simulated.
    """
    end = time.monotonic() + total_limit
    described = _ask("bench.worker:describe_device", time_limit=120.0, missing=True)
    truth = GroundTruth(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"), **described, cases=(), workspaces=()
    )
    asked = list(cases)
    limit = time_limit * len(asked)
    placed: list[Case] = _ask("bench.worker:place_cases", asked, time_limit=limit)
    signatures = _ask("bench.worker:list_convolutions", truth, placed, time_limit=limit)
    workspaces = _ask("bench.worker:measure_workspaces", signatures, time_limit=limit)
    ran = tuple(_run(case, time_limit) for case in track(placed) if time.monotonic() < end)
    return replace(truth, workspaces=workspaces, cases=ran)


def _run(case: Case, time_limit: float) -> TrueCase:
    outcome = run_isolated("bench.worker:measure_case_peaks", case, time_limit=time_limit)
    peaks = outcome.result if outcome.status == "ok" else {}
    return TrueCase(case=case, status=outcome.status, message=outcome.message, **peaks)


def compare(truth: GroundTruth, time_limit: float) -> list[Comparison]:
    """Simulate every case of a truth, all in one process.

    Raises:
        ValidationError: a case cannot be simulated.
    """
    simulated = _ask("bench.worker:simulate_truth", truth, time_limit=time_limit * max(len(truth.cases), 1))
    return [Comparison(truth=case, simulated=peaks) for case, peaks in zip(truth.cases, simulated, strict=True)]


def summarise(rows: Iterable[Comparison]) -> Iterator[Summary]:
    """The errors of every step and kind; nothing where no case ran."""
    ran = [row for row in rows if row.truth.steady is not None]
    for step in STEPS if ran else ():
        for kind in PEAKS:
            errors = [row.error(kind, step) or 0.0 for row in ran]
            worst = max(range(len(ran)), key=lambda index: abs(errors[index]))
            yield Summary(
                step=step,
                kind=kind,
                exact_count=errors.count(0.0),
                case_count=len(ran),
                median=statistics.median(map(abs, errors)),
                worst=errors[worst],
                worst_label=ran[worst].truth.case.label,
            )


def _ask(function: str, *arguments: object, time_limit: float, missing: bool = False) -> Any:
    outcome = run_isolated(function, *arguments, time_limit=time_limit)
    if outcome.status == "ok":
        return outcome.result
    if missing:
        raise ValidationError(
            f"there is no CUDA device to validate against ({outcome.message}); `nox -s oracle` builds a stand-in"
        )
    raise ValidationError(f"{outcome.phase}: {outcome.message}")
