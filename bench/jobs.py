"""What a run is asked to do."""

from dataclasses import dataclass

from bench.probes.limits import Limits
from results.record import Case, Measure, Provenance, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row to be made."""

    case: Case
    provenance: Provenance
    device: str
    """`cpu` or `cuda`."""
    measure: Measure = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How every job of a run is done."""

    limits: Limits
    time_limit: float
    """Seconds after which a case's process is killed."""
    data_root: str | None = None
    retry: frozenset[Status] = frozenset()
    """Outcomes whose rows are made again; a job with any other row is done."""
