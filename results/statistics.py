"""Numbers made from raw samples when they are read; nothing here is ever stored."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 2_000
"""Resamples of the bootstrap; with another seed its ends move by a few per cent of its width."""
FEWEST_PAIRS = 3
"""Below it the resamples are too few different ones to make an interval of."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A method's time over the reference's, from paired samples."""

    median: float
    """Median of the pairwise ratios; 1.1 is ten per cent slower than the reference."""
    low: float | None
    """Lower end of the 95 % confidence interval of the median; None below three pairs."""
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


def paired_ratio(seconds: Sequence[float], reference_seconds: Sequence[float]) -> Ratio:
    """Median of pairwise ratios with a 95 % confidence interval (percentile bootstrap, the same on every call).

    Pairs are resampled whole, so a slow moment that hit both members of a pair cancels.

    Args:
        seconds: samples of the method, positive.
        reference_seconds: samples of the reference, positive, paired with them by position.

    Raises:
        ValueError: no pairs, unequal numbers of samples, or a sample that is not positive.
    """
    if len(seconds) != len(reference_seconds) or not seconds:
        raise ValueError(f"samples do not pair (method: {len(seconds)}, reference: {len(reference_seconds)})")
    if min(*seconds, *reference_seconds) <= 0:
        raise ValueError("a time must be positive")
    ratios = np.asarray(seconds) / np.asarray(reference_seconds)
    middle = float(np.median(ratios))
    if len(ratios) < FEWEST_PAIRS:
        return Ratio(middle, None, None, len(ratios))
    interval = bootstrap(
        (ratios,), np.median, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Ratio(middle, float(interval.low), float(interval.high), len(ratios))
