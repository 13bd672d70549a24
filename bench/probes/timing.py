"""Times a training step, or inference, against end-to-end backprop.

A method's overhead is a paired ratio: the two alternate in blocks A B B A, so that drift of the machine hits both
alike. Every sample is kept; statistics are made when read.

Sees: wall-clock time of whole steps, with the device synchronised after each.
Does not see: memory (probing it would change the time), data loading unless the batches come from a loader.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.probes.limits import Limits
from results.statistics import paired_ratio

WARM_UP_STEPS = {"cpu": 2, "cuda": 10}
"""Steps of each side that are run and not kept, by device."""
CONVERGED_HALF_WIDTH = 0.01
"""Half-width of the ratio's 95 % interval, relative, at which sampling may end."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Paired samples in seconds, by position."""

    seconds: tuple[float, ...]
    reference_seconds: tuple[float, ...]
    first_seconds: float
    """The very first call of the method."""
    stop: str
    """`converged`, `enough` or `time`."""


def time_pairs(
    run: Callable[[], object],
    reference: Callable[[], object],
    limits: Limits,
    warm_up: int = WARM_UP_STEPS["cpu"],
    clock: Clock = time.perf_counter,
) -> Samples:
    """Sample `run` and `reference` alternately until the ratio is known or a limit is reached.

    Args:
        run: one step of the method; returns when the device has finished.
        reference: one step of end-to-end backprop.
        limits: when to stop.
        warm_up: steps of each that are run first and not kept, at least 1.
        clock: seconds.
    """

    def sample(call: Callable[[], object]) -> float:
        start = clock()
        call()
        return clock() - start

    first = sample(run)
    for _ in range(warm_up - 1):
        run()
    for _ in range(warm_up):
        reference()
    seconds: list[float] = []
    references: list[float] = []
    begin = clock()
    while True:
        for own, other, a, b in ((seconds, references, run, reference), (references, seconds, reference, run)):
            own.append(sample(a))
            other.append(sample(b))
        stop = _why_stop(seconds, references, clock() - begin, limits)
        if stop:
            return Samples(seconds=tuple(seconds), reference_seconds=tuple(references), first_seconds=first, stop=stop)


def _why_stop(seconds: list[float], references: list[float], elapsed: float, limits: Limits) -> str | None:
    if len(seconds) < limits.minimum_pairs:
        return None
    ratio = paired_ratio(seconds, references)
    if (
        ratio.low is not None
        and ratio.high is not None
        and ratio.high - ratio.low < 2 * CONVERGED_HALF_WIDTH * ratio.median
    ):
        return "converged"
    if len(seconds) >= limits.maximum_pairs:
        return "enough"
    return "time" if elapsed >= limits.maximum_seconds else None
