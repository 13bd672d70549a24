"""Printed memory beside simulated memory: one constant per group of cells, and what it leaves unexplained.

Papers print what a tool showed: the CUDA context, loaded kernels and convolution workspaces are in it, and none of them
depends on the method much. So printed figures should be simulated ones plus a constant of the paper's machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Fit:
    """A constant fitted to cells, in GiB."""

    offset: float
    residuals: tuple[float, ...]
    """Printed less simulated less the constant, cell by cell."""

    @property
    def middle(self) -> float:
        """Median size of a residual."""
        return median(map(abs, self.residuals))

    @property
    def worst(self) -> float:
        """Largest size of a residual."""
        return max(map(abs, self.residuals))


def fit_offset(printed: Sequence[float], simulated: Sequence[float]) -> Fit:
    """The constant with the least sum of absolute residuals: the median difference, which outliers do not move.

    Args:
        printed: GB as printed, taken for GiB.
        simulated: GiB of the same cells.

    Raises:
        ValueError: no cells, or not as many of both.
    """
    differences = [a - b for a, b in zip(printed, simulated, strict=True)]
    if not differences:
        raise ValueError("a constant needs at least one cell to be fitted to")
    offset = median(differences)
    return Fit(offset, tuple(difference - offset for difference in differences))
