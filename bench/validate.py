"""The simulator beside the CUDA device of this machine, case by case.

Each case runs on the device in a process of its own, which reads the allocator's peaks; the same case is simulated for
a device of the same properties. What was read is kept as ground truth that needs no device any more.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.isolate import run_isolated
from results.record import Case

PEAKS = ("requested", "allocated", "reserved")


class ValidationError(RuntimeError):
    """There is nothing to validate against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Peaks of one case in bytes, by kind."""

    case: Case
    status: str
    message: str | None
    measured: dict[str, int] | None
    simulated: dict[str, int]

    def error(self, kind: str) -> float | None:
        """Simulated over measured peak, less one."""
        return None if self.measured is None else self.simulated[kind] / self.measured[kind] - 1


def read_device() -> dict[str, Any]:
    """Properties of the CUDA device.

    Raises:
        ValidationError: there is none.
    """
    outcome = run_isolated("bench.worker:describe_device", time_limit=120.0)
    if outcome.status != "ok":
        raise ValidationError(
            f"there is no CUDA device to validate against ({outcome.message}); `nox -s oracle` builds a stand-in"
        )
    return outcome.result


def compare_case(case: Case, time_limit: float) -> Comparison:
    """Run a case on the device and under the simulator."""
    measured = run_isolated("bench.worker:measure_memory", case, time_limit=time_limit)
    simulated = run_isolated("bench.worker:simulate_for_device", case, time_limit=time_limit)
    if simulated.status != "ok":
        raise ValidationError(f"{case.label} cannot be simulated: {simulated.message}")
    return Comparison(
        case=case,
        status=measured.status,
        message=measured.message,
        measured=_pick(measured.result) if measured.status == "ok" else None,
        simulated=_pick(simulated.result),
    )


def write_ground_truth(path: Path, device: dict[str, Any], comparisons: list[Comparison]) -> None:
    """Keep what was read: the device, and every case with its peaks."""
    cases = [asdict(row.case) | {"status": row.status, "peaks": row.measured} for row in comparisons]
    path.write_text(json.dumps({"device": device, "cases": cases}, indent=1) + "\n")


def _pick(readings: Any) -> dict[str, int]:
    return {kind: getattr(readings, f"peak_{kind}_bytes") for kind in PEAKS}
