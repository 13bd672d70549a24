"""Figures: pure functions from plain numbers to files (PNG, SVG, PDF by the file's ending)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports.panels import COLOURS, HATCHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureError(ValueError):
    """A figure that cannot be written, such as to a file of an unknown kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Memory over the events of one training step."""

    title: str
    categories: Mapping[str, Sequence[int]]
    """Allocated bytes by category after each event."""
    reserved: Sequence[int]
    """Bytes of segments after each event."""
    peak: int
    """Event at which the allocated bytes are highest."""
    peak_words: str
    """Where that is."""


def new_figure(path: Path, size: tuple[float, float]) -> "Figure":
    """An empty figure for a file.

    Args:
        path: the file it will be saved as.
        size: width and height in inches.

    Raises:
        FigureError: the file's ending is not of a picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=size, layout="constrained")
    if path.suffix.removeprefix(".") not in FigureCanvasAgg(figure).get_supported_filetypes():
        raise FigureError(f"cannot draw into {path}: the ending says the kind, such as .png, .svg or .pdf")
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write the file.

    Raises:
        FigureError: it cannot be written.
    """
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise FigureError(f"cannot write {path}: {error.strerror}") from error


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Stacked memory by category over the events of a step, with the peak marked and named.

    Raises:
        FigureError: the file's ending is not of a picture.
    """
    figure = new_figure(path, (8, 4.5))
    axes = figure.subplots()
    events = range(len(timeline.reserved))
    shown = {name: values for name, values in timeline.categories.items() if any(values)}
    stacks = [[value / 2**30 for value in values] for values in shown.values()]
    areas = axes.stackplot(events, *stacks, labels=list(shown), colors=[COLOURS[name] for name in shown], linewidth=0)
    for area, name in zip(areas, shown, strict=True):
        area.set(hatch=HATCHES[name], edgecolor="black")
    axes.plot(events, [value / 2**30 for value in timeline.reserved], color="black", linewidth=1, label="reserved")
    height = sum(values[timeline.peak] for values in shown.values()) / 2**30
    # Room for the words above everything that is drawn.
    reserved = max(*timeline.reserved, 1) / 2**30
    top, left = 1.25 * reserved, timeline.peak < len(events) / 2
    axes.annotate(
        f"peak {height:.2f} GiB: {timeline.peak_words}",
        (timeline.peak, height),
        xytext=(0.01 if left else 0.99, 0.97),
        textcoords="axes fraction",
        ha="left" if left else "right",
        va="top",
        fontsize=9,
        arrowprops={"arrowstyle": "-", "linewidth": 0.8, "relpos": (0.1 if left else 0.9, 0)},
    )
    axes.plot([timeline.peak], [height], marker="v", color="black", markersize=6)
    axes.set(title=timeline.title, xlabel="events of one training step", ylabel="GiB (2^30 bytes)", xmargin=0)
    axes.set_ylim(0, top)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)
