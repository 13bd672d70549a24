"""When timing stops. Imports no torch, because suites carry it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop sampling pairs of a method's step and the reference's."""

    minimum_pairs: int = 10
    """Pairs that are always taken, whatever the time."""
    minimum_seconds: float = 0.5
    """Sampling goes on at least so long, unless it has `maximum_pairs`."""
    maximum_pairs: int = 100
    maximum_seconds: float = 30.0
    """Time after which no further block is begun, once there are `minimum_pairs`; a third of it is for warming up."""
    maximum_repeats: int = 3
    """How many times in all an ABBA with a suspicious block is run again."""
