"""Charts of reports: peak by K, memory against time with the Pareto front, simulated against measured.

Pure functions from plain numbers to files. Series differ by colour, marker and, where lines are drawn, by dashes, so
that they are told apart without colour.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

PALETTE = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
"""Tol's muted scheme."""
MARKERS = "os^Dv<>PX*"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Point:
    """A case in a chart."""

    x: float
    y: float
    words: str = ""
    """Written beside it."""


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


def draw_peaks(panels: Sequence[Panel], path: Path) -> None:
    """Peak in GiB over K.

    Raises:
        FigureError: the file's ending is not of a picture.
    """

    def draw(axes: "Axes", panel: Panel) -> None:
        for series in panel.series:
            xs, ys = [point.x for point in series.points], [point.y for point in series.points]
            axes.plot(xs, ys, linestyle=DASHES[series.dash % len(DASHES)], linewidth=1.4, **_look(series))
        if panel.level is not None:
            axes.axhline(panel.level, color="black", linewidth=1, label="e2e")
        counts = sorted({point.x for series in panel.series for point in series.points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, labels=[f"{count:g}" for count in counts])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)

    _draw(panels, path, ("K, local modules", "peak, GiB (2^30 bytes)"), draw)


def draw_tradeoff(panels: Sequence[Panel], path: Path) -> None:
    """Step time over memory, both in per cent of end-to-end training, with the Pareto front.

    Raises:
        FigureError: the file's ending is not of a picture.
    """

    def draw(axes: "Axes", panel: Panel) -> None:
        if panel.front:
            xs, ys = [point.x for point in panel.front], [point.y for point in panel.front]
            axes.plot(xs, ys, drawstyle="steps-post", color="black", linewidth=1, zorder=1, label="Pareto front")
        _scatter(axes, panel)
        axes.set_xscale("log")
        _label_log(axes.xaxis)

    _draw(panels, path, ("peak memory, % of E2E", "step time, % more than E2E"), draw)


def draw_agreement(panels: Sequence[Panel], path: Path) -> None:
    """Simulated over measured peaks, in GiB; on the line they are equal.

    Raises:
        FigureError: the file's ending is not of a picture.
    """

    def draw(axes: "Axes", panel: Panel) -> None:
        values = [value for series in panel.series for point in series.points for value in (point.x, point.y)]
        ends = (0.8 * min(values), 1.25 * max(values))
        axes.plot(ends, ends, color="black", linewidth=1, zorder=1, label="equal")
        _scatter(axes, panel)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        _label_log(axes.xaxis)
        _label_log(axes.yaxis)

    _draw(panels, path, ("measured peak, GiB (2^30 bytes)", "simulated peak, GiB"), draw)


def _label_log(axis: "Axis") -> None:
    """Plain numbers at 1, 2, 5 of every decade."""
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415 - slow to import

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _scatter(axes: "Axes", panel: Panel) -> None:
    for series in panel.series:
        xs, ys = [point.x for point in series.points], [point.y for point in series.points]
        axes.plot(xs, ys, linestyle="", zorder=2, **_look(series))
        for point in series.points:
            offset = {"xytext": (4, 3), "textcoords": "offset points"}
            axes.annotate(point.words, (point.x, point.y), fontsize=6, zorder=3, **offset)


def _look(series: Series) -> dict[str, Any]:
    return {
        "label": series.label,
        "color": PALETTE[series.look % len(PALETTE)],
        "marker": MARKERS[series.look % len(MARKERS)],
        "markersize": 5,
        "markeredgecolor": "black",
        "markeredgewidth": 0.4,
    }


def _draw(panels: Sequence[Panel], path: Path, labels: tuple[str, str], draw: Callable[["Axes", Panel], None]) -> None:
    """Panels in up to two columns under one legend."""
    across = min(len(panels), 2)
    figure = new_figure(path, (5.2 * across + 1.8, 4.2 * ceil(len(panels) / across)))
    grid = list(figure.subplots(ceil(len(panels) / across), across, squeeze=False).flat)
    handles: dict[str, Any] = {}
    for axes in grid:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_axis_on()
        draw(axes, panel)
        axes.set_title(panel.title, fontsize=9)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)
