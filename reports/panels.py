"""What a chart shows, before anything is drawn: axes, series and points as plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.units import memory_unit

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """An amount of memory and what it is made of."""

    label: str
    parts: tuple[tuple[str, int], ...]
    """Category and bytes, in the order of `COLOURS`."""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPanel:
    """Bars below each other, of one scale."""

    title: str
    bars: tuple[Bar, ...]
    mark: int | None = None
    """Bytes that a line across marks, such as the peak of a whole step."""
    mark_words: str = ""


COLOURS = {
    "held": "#666666",
    "parameters": "#332288",
    "gradients": "#88CCEE",
    "optimizer state": "#44AA99",
    "buffers": "#117733",
    "input": "#999933",
    "activations": "#DDCC77",
    "auxiliary": "#CC6677",
    "context": "#882255",
    "workspace": "#AA4499",
    "temporary": "#BBBBBB",
    "transient": "#BBBBBB",
}
"""Category of memory -> its colour, of Tol's muted scheme; in the order in which they are stacked. Where less is told
apart, `held` lives through the whole step or was left by earlier modules, and `transient` dies where it was born."""
HATCHES = {
    "held": "",
    "parameters": "",
    "gradients": "////",
    "optimizer state": "....",
    "buffers": "xxxx",
    "input": "||||",
    "activations": "",
    "auxiliary": "\\\\\\\\",
    "context": "++++",
    "workspace": "oo",
    "temporary": "--",
    "transient": "--",
}
"""Category -> what tells it apart where there is no colour."""


def stack(parts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Parts of a bar in the order in which categories are stacked, unknown ones last; nothing that is empty."""
    ordered = [*COLOURS, *sorted({*parts} - {*COLOURS})]
    return tuple((name, parts[name]) for name in ordered if parts.get(name))


def peak_panel(title: str, parts_of: Mapping[str, Mapping[str, int]], peak_bytes: int) -> BarPanel:
    """What holds memory at highest points of a step, beside the peak of all of it.

    Args:
        title: of the panel.
        parts_of: by label, bytes by category; from top to bottom.
        peak_bytes: of the whole step.
    """
    unit, show = memory_unit(peak_bytes)
    return BarPanel(
        title=title,
        bars=tuple(Bar(label=label, parts=stack(parts)) for label, parts in parts_of.items()),
        mark=peak_bytes,
        mark_words=f"peak of the step, {show(peak_bytes)} {unit}",
    )
