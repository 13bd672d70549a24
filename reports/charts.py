"""Charts of reports as files: peak by K, memory against time with the Pareto front, simulated against measured.

Series differ by colour, marker and, where lines are drawn, by dashes, so that they are told apart without colour.
"""

from collections.abc import Sequence
from math import ceil, log2
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.figures import new_figure, save_figure
from reports.labels import place_labels
from reports.panels import COLOURS, DASHES, HATCHES, MARKERS, PALETTE, BarPanel, Kind, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

MOST_TICKS = 8
"""Counts on an axis; of more only powers of two are written."""
WORDS_SIZE = 6.5
"""Points of type of the words beside a point."""
SHORT = 5
"""A logarithmic axis over less than this factor would have one number or none at 1, 2 and 5."""


def draw_chart(kind: Kind, panels: Sequence[Panel], path: Path) -> None:
    """Panels in up to two columns under one legend.

    Raises:
        FigureError: the file cannot be written, or its ending is not of a picture.
    """
    across = min(len(panels), 2)
    figure = new_figure(path, (5.2 * across + 1.8, 4.2 * ceil(len(panels) / across)))
    grid = list(figure.subplots(ceil(len(panels) / across), across, squeeze=False).flat)
    handles: dict[str, Any] = {}
    for axes in grid:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_axis_on()
        (_draw_curves if kind.curves else _draw_points)(axes, kind, panel)
        axes.set_title(panel.title, fontsize=9)
        axes.set(xlabel=kind.x, ylabel=kind.y)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)
    # Where words fit is known when everything else has its place.
    figure.draw_without_rendering()
    for axes, panel in zip(grid, panels, strict=False):
        _write_words(axes, panel)
    save_figure(figure, path)


def draw_bars(panels: Sequence[BarPanel], path: Path) -> None:
    """Stacked bars by category, panels below each other.

    Raises:
        FigureError: the file cannot be written, or its ending is not of a picture.
    """
    heights = [0.2 * len(panel.bars) + 1.0 for panel in panels]
    figure = new_figure(path, (8.5, sum(heights) + 0.2))
    grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    handles: dict[str, Any] = {}
    for axes, panel in zip(grid, panels, strict=True):
        unit, size = ("GiB", 2**30) if max(bar.size for bar in panel.bars) >= 2**30 else ("MiB", 2**20)
        for place, bar in enumerate(panel.bars):
            left = 0.0
            for category, part in bar.parts:
                look: dict[str, Any] = {"color": COLOURS.get(category, "#FFFFFF"), "hatch": HATCHES.get(category, "")}
                drawn = axes.barh(place, part / size, left=left, edgecolor="black", linewidth=0.4, height=0.72, **look)
                handles.setdefault(category, drawn[0])
                left += part / size
        if panel.mark is not None:
            axes.axvline(panel.mark / size, color="black", linewidth=1, linestyle="--")
            axes.annotate(panel.mark_words, (panel.mark / size, 1), xycoords=("data", "axes fraction"), fontsize=7,
                          xytext=(-3, 2), textcoords="offset points", ha="right")  # fmt: skip
        axes.set_yticks(range(len(panel.bars)), labels=[bar.label for bar in panel.bars], fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.6 / max(len(panel.bars), 1))
        axes.set_title(panel.title, fontsize=9, loc="left", pad=12 if panel.mark_words else 6)
        axes.set_xlabel(f"{unit} (2^{30 if unit == 'GiB' else 20} bytes)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    listed = [name for name in COLOURS if name in handles] + [name for name in handles if name not in COLOURS]
    figure.legend([handles[name] for name in listed], listed, loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)


def _draw_curves(axes: "Axes", kind: Kind, panel: Panel) -> None:
    for place, series in enumerate(panel.series):
        xs, ys = [point.x for point in series.points], [point.y for point in series.points]
        # Curves that coincide show as one within the other.
        wide = 1 - place / len(panel.series)
        look: dict[str, Any] = _look(series) | {"markersize": 3 + 7 * wide, "linewidth": 1 + 2 * wide}
        axes.plot(xs, ys, linestyle=DASHES[series.dash % len(DASHES)], **look)
    if panel.level is not None:
        axes.axhline(panel.level, color="black", linewidth=1, label="e2e")
    counts = sorted({point.x for series in panel.series for point in series.points})
    ticks = counts if len(counts) <= MOST_TICKS else [count for count in counts if log2(count).is_integer()]
    if kind.log_x:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, labels=[f"{count:g}" for count in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def _draw_points(axes: "Axes", kind: Kind, panel: Panel) -> None:
    if panel.front:
        xs, ys = [point.x for point in panel.front], [point.y for point in panel.front]
        axes.plot(xs, ys, drawstyle="steps-post", color="black", linewidth=1, zorder=1, label="Pareto front")
    for series in panel.series:
        xs, ys = [point.x for point in series.points], [point.y for point in series.points]
        axes.plot(xs, ys, linestyle="none", zorder=2, **_look(series))
    if kind.diagonal:
        values = [value for series in panel.series for point in series.points for value in (point.x, point.y)]
        ends = (0.8 * min(values), 1.25 * max(values))
        axes.plot(ends, ends, color="black", linewidth=1, zorder=1, label="equal")
        axes.set(xlim=ends, ylim=ends)
    for log, scale, axis in ((kind.log_x, axes.set_xscale, axes.xaxis), (kind.log_y, axes.set_yscale, axes.yaxis)):
        if log:
            scale("log")
            _label_log(axis)


def _label_log(axis: "Axis") -> None:
    """Plain numbers at 1, 2, 5 of every decade; at every digit where the axis spans less."""
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415 - slow to import

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > SHORT * low else range(1, 10)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _write_words(axes: "Axes", panel: Panel) -> None:
    """Words beside points where there is room, those of the front first."""
    front = {(point.x, point.y) for point in panel.front}
    points = [point for series in panel.series for point in series.points]
    if not any(point.words for point in points):
        return
    points.sort(key=lambda point: (point.x, point.y) not in front)
    points_of_type = axes.figure.dpi / 72  # pyright: ignore[reportAttributeAccessIssue] - a subfigure has it as well
    places = [(x, y) for x, y in axes.transData.transform([(p.x, p.y) for p in points]) / points_of_type]
    sizes = [(0.56 * WORDS_SIZE * len(point.words), 1.1 * WORDS_SIZE if point.words else 0.0) for point in points]
    box = axes.get_window_extent()
    left, low, right, high = (end / points_of_type for end in (box.x0, box.y0, box.x1, box.y1))
    corners = place_labels(places, sizes, (left, low, right, high), gap=3.5)
    for point, place, corner in zip(points, places, corners, strict=True):
        if corner is not None:
            offset = (corner[0] - place[0], corner[1] - place[1])
            options: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "va": "bottom", "zorder": 3}
            axes.annotate(point.words, (point.x, point.y), fontsize=WORDS_SIZE, **options)


def _look(series: Series) -> dict[str, Any]:
    return {
        "label": series.label,
        "color": PALETTE[series.look % len(PALETTE)],
        "marker": MARKERS[series.look % len(MARKERS)],
        "markersize": 5,
        "markeredgecolor": "black",
        "markeredgewidth": 0.4,
    }
