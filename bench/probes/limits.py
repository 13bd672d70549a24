"""When timing stops. Imports no torch, because suites carry it."""

import math
from dataclasses import asdict, dataclass


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

    def __post_init__(self) -> None:
        """Refuse numbers with which sampling would never begin or never end.

        Raises:
            ValueError: one is negative or not finite, or there would be no pair at all.
        """
        for name, value in asdict(self).items():
            least = 1 if name.endswith("_pairs") else 0
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} is a number from {least}, not {value}")
