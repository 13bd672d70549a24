"""Numbers made from raw samples when they are read; nothing here is ever stored."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, norm, t

from results.samples import Probe

RESAMPLES = 2_000
"""Resamples of the bootstrap; with another seed its ends move by a few per cent of its width."""
FEWEST_BLOCKS = 3
"""Below it the resamples are too few different ones to make an interval of."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A method's time over the reference's, from paired samples."""

    median: float
    """Median of the pairwise ratios; 1.1 is ten per cent slower than the reference."""
    low: float | None
    """Lower end of the 95 % confidence interval of the median; None below three blocks of pairs."""
    high: float | None
    """Upper end."""
    count: int
    """Number of pairs."""


def median(samples: Sequence[float]) -> float:
    """Median of raw samples, in their unit.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("a median needs at least one sample")
    return statistics.median(samples)


def paired_ratio(seconds: Sequence[float], reference_seconds: Sequence[float], block: int = 1) -> Ratio:
    """Median of pairwise ratios with a 95 % confidence interval (percentile bootstrap, the same on every call).

    Pairs are resampled whole, so a slow moment that hit both members of a pair cancels. Then pairs that were taken
    together are resampled together: the steps of an ABBA share what the machine did meanwhile, so that they say less
    than as many steps at other times. The interval reaches as far as either, since few blocks know little of how pairs
    scatter. With few samples a bootstrap is too narrow, and its percentiles are moved outwards as Student's t would
    have them (expanded percentile interval: Hesterberg, The American Statistician 69(4), 2015).

    Args:
        seconds: samples of the method, positive.
        reference_seconds: samples of the reference, positive, paired with them by position.
        block: consecutive pairs that were taken together.

    Raises:
        ValueError: no pairs, unequal numbers of samples, or a sample that is not positive.
    """
    if len(seconds) != len(reference_seconds) or not seconds:
        raise ValueError(f"samples do not pair (method: {len(seconds)}, reference: {len(reference_seconds)})")
    if min(*seconds, *reference_seconds) <= 0:
        raise ValueError("a time must be positive")
    ratios = np.asarray(seconds) / np.asarray(reference_seconds)
    middle = float(np.median(ratios))
    intervals = [found for size in {1, block} if (found := _resample(ratios, size))]
    if len(ratios) // block < FEWEST_BLOCKS:
        return Ratio(middle, None, None, len(ratios))
    return Ratio(middle, min(low for low, _ in intervals), max(high for _, high in intervals), len(ratios))


def _resample(ratios: np.ndarray, block: int) -> tuple[float, float] | None:
    """Interval of the median where whole blocks are resampled; None where they are too few."""
    blocks = ratios[: len(ratios) // block * block].reshape(-1, block)
    if len(blocks) < FEWEST_BLOCKS:
        return None

    def median_of_blocks(chosen: np.ndarray, axis: int) -> np.ndarray:
        assert axis in (-1, chosen.ndim - 1)  # noqa: S101 - as scipy calls it
        return np.median(blocks[chosen].reshape(*chosen.shape[:-1], -1), axis=-1)

    interval = bootstrap(
        (np.arange(len(blocks)),), median_of_blocks, n_resamples=RESAMPLES, vectorized=True, method="percentile",
        confidence_level=expand_level(len(blocks)), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def expand_level(count: int) -> float:
    """The level at which a percentile interval of so many samples is as wide as Student's t has a 95 % one."""
    quantile = float(t.ppf(0.975, count - 1)) * math.sqrt(count / (count - 1))
    return 1 - 2 * float(norm.cdf(-quantile))


def host_bound_share(step_seconds: Sequence[float], host_seconds: Sequence[float]) -> float:
    """Median share of a step in which the host was still queueing it: near 1 the host sets the pace, not the device.

    Args:
        step_seconds: between two events of the stream, positive.
        host_seconds: until the step was queued, paired with them by position.
    """
    shares = np.asarray(host_seconds) / np.asarray(step_seconds)
    return float(np.median(np.minimum(shares, 1.0)))


def slowdown_at(limit_bytes: int, probes: Iterable[Probe]) -> float | None:
    """Median step under a limit over the one without a limit; None where either did not run."""
    seconds: dict[int | None, list[float]] = {}
    for probe in probes:
        seconds.setdefault(probe.limit_bytes, []).extend(probe.step_seconds or ())
    limited, free = seconds.get(limit_bytes), seconds.get(None)
    return median(limited) / median(free) if limited and free else None
