"""Stretches of several modules at once: arrays of net bytes and of highest prefixes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from partition.profile import CostProfile

Array = Any
Pair = tuple[Array, Array]
"""Stretches of several modules: net bytes and highest prefixes, (modules,)."""
SUMS = ("gradient_bytes", "update_bytes", "flops")
"""What adds up over the units and networks of a module."""


def join_pairs(stretches: Sequence[Pair]) -> Pair:
    """`profile.join` for several modules at once; a pair of integers is the same in all."""
    delta, peak = 0, 0
    for net, highest in stretches:
        peak = np.maximum(peak, delta + highest)
        delta = delta + net
    return delta, peak


def cut_pair(pair: Pair, part: slice) -> Pair:
    """The stretches of some of the modules."""
    return pair[0][part], pair[1][part]


def largest_number(profile: CostProfile) -> int:
    """Largest number of a profile, whatever its sign."""
    largest, parts, seen = 0, [profile], set[int]()
    while parts:
        part: Any = parts.pop()
        if isinstance(part, int):
            largest = max(largest, abs(part))
        elif id(part) not in seen:  # alike units and stretches are one object
            seen.add(id(part))
            if isinstance(part, Mapping):
                parts += part.values()
            elif isinstance(part, tuple):
                parts += part
            elif is_dataclass(part):
                parts += (getattr(part, field.name) for field in fields(part))
    return largest
