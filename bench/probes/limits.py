"""When timing stops. Imports no torch, because suites carry it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop sampling pairs of a method's step and the reference's."""

    minimum_pairs: int = 10
    """Pairs that are always taken, whatever the time."""
    maximum_pairs: int = 100
    maximum_seconds: float = 30.0
    """Time after which no further block is begun, once there are `minimum_pairs`."""
