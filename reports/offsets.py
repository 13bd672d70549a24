"""Printed memory beside simulated memory: one constant per group of cells, and what it leaves unexplained.

Papers print what a tool showed: the CUDA context, loaded kernels and convolution workspaces are in it, and none of them
depends on the method much. So printed figures should be simulated ones plus a constant of the paper's machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.row import Row


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


FEWEST_CELLS = 3
"""Below it a constant says nothing of how well it fits."""


def fit_papers(rows: Sequence[Row]) -> dict[str, Fit]:
    """A constant for every paper that prints the memory of at least three of these rows, by paper and table."""
    cells: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.published_memory_gb is not None and row.peak_allocated_bytes is not None:
            pair = (row.published_memory_gb, row.peak_allocated_bytes / 2**30)
            cells.setdefault(row.published_memory_source or "", []).append(pair)
    return {
        source: fit_offset(*zip(*pairs, strict=True)) for source, pairs in cells.items() if len(pairs) >= FEWEST_CELLS
    }
