"""Stretches of several modules at once: arrays of net bytes and of highest prefixes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    return max(abs(number) for number in _numbers(profile))


def _numbers(value: object) -> Iterator[int]:
    parts: Iterable[object] = ()
    if isinstance(value, int):
        yield int(value)
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, tuple):
        parts = {id(part): part for part in value}.values()  # alike units are one object
    elif is_dataclass(value):
        parts = (getattr(value, field.name) for field in fields(value))
    for part in parts:
        yield from _numbers(part)
