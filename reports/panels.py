"""What a chart shows, before anything is drawn: axes, series and points as plain numbers."""

from dataclasses import dataclass, field

PALETTE = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
"""Tol's muted scheme: told apart in print and by colour-blind readers."""
MARKERS = "os^Dv<>PX*"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the axes of a chart are, and how they run."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    curves: bool = False
    """Points of a series are joined, over the counts that occur, from zero up."""
    diagonal: bool = False
    """A line where both are equal."""


PEAKS = Kind(x="K, local modules", y="peak, GiB (2^30 bytes)", log_x=True, curves=True)
"""Peak memory by number of local modules."""
TRADEOFF = Kind(x="peak memory, % of E2E", y="step time, % more than E2E", log_x=True)
"""Step time over memory, with the Pareto front."""
AGREEMENT = Kind(x="measured peak, GiB (2^30 bytes)", y="simulated peak, GiB", log_x=True, log_y=True, diagonal=True)
"""Simulated over measured peaks; on the line they are equal."""


@dataclass(frozen=True, slots=True)
class Point:
    """A case in a chart."""

    x: float
    y: float
    words: str = ""
    """Written beside it, where there is room."""
    tip: str = field(default="", compare=False)
    """The case and its values, for a reader who points at it."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one look."""

    label: str
    points: tuple[Point, ...]
    look: int
    """Number of its colour and marker."""
    dash: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...]
    front: tuple[Point, ...] = ()
    """Points that no other beats in both, by x."""
    level: float | None = None
    """Height of a line across: end-to-end training."""
