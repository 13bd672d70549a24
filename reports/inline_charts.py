"""Charts as plain geometry, which the page writes as SVG: its colours follow the page's, its points can be pointed at.

Coordinates are those of a picture of `WIDTH` by `HEIGHT`, from its upper left corner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from reports.labels import place_labels
from reports.panels import COLOURS, DASHES, MARKERS, PALETTE, BarPanel, Kind, Panel, Point, Series
from reports.units import memory_unit

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 42
PITCH = 13
"""From one bar to the next."""
LABEL_WIDTH = 5.2
"""Of a character of a bar's label, on average."""
WORDS_HEIGHT, WORDS_WIDTH = 8.5, 4.9
"""Of the words beside a point: a line, and a character of it on average."""
SHAPES = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "s": "M-3.5-3.5h7v7h-7z",
    "^": "M0-4.5l4.4 8h-8.8z",
    "D": "M0-4.8l4.8 4.8l-4.8 4.8l-4.8-4.8z",
    "v": "M0 4.5l4.4-8h-8.8z",
    "<": "M-4.5 0l8-4.4v8.8z",
    ">": "M4.5 0l-8-4.4v8.8z",
    "P": "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "X": "M0-2l2.4-2.4l2 2l-2.4 2.4l2.4 2.4l-2 2l-2.4-2.4l-2.4 2.4l-2-2l2.4-2.4l-2.4-2.4l2-2z",
    "*": "M0-5l1.3 3.4l3.6.1l-2.8 2.3l1 3.5l-3.1-2l-3.1 2l1-3.5l-2.8-2.3l3.6-.1z",
}
"""Outlines of the markers, about their middle."""
DASH_LENGTHS = {"-": "none", "--": "6 3", ":": "1.5 2.5", "-.": "6 2 1.5 2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis: from values to places."""

    low: float
    high: float
    start: float
    """Place of the low end."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Place of a value."""
        low, high, value = (log10(each) for each in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )  # fmt: skip
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis with its value."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that can be pointed at."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A series as it is drawn."""

    label: str
    look: int
    shape: str
    dashes: str
    path: str
    """Its curve; empty where points are not joined."""
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a bar."""

    x: float
    width: float
    colour: int
    """Number of its category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A bar as it is drawn."""

    y: float
    label: str
    tip: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A panel as it is drawn."""

    title: str
    height: float
    left: float
    x_name: str
    y_name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    strips: tuple[Strip, ...] = ()
    categories: tuple[tuple[int, str], ...] = ()
    """Number and name of every category in the strips."""
    extra: str = ""
    """Path of the Pareto front, of the line of equality or of end-to-end training; empty where there is none."""
    extra_label: str = ""
    words: tuple[tuple[float, float, str], ...] = ()
    """Texts beside points with the low left corner of each."""


def lay_out(kind: Kind, panel: Panel) -> Drawing:
    """Lay a panel out.

    Args:
        kind: of the axes.
        panel: with at least one point.
    """
    points = [point for series in panel.series for point in series.points]
    xs = [point.x for point in points]
    ys = [*(point.y for point in points), *([] if panel.level is None else [panel.level])]
    if kind.diagonal:
        xs = ys = [*xs, *ys]
    bottom = HEIGHT - BOTTOM
    x = _scale(xs, LEFT, WIDTH - RIGHT, log=kind.log_x)
    y = _scale([*ys, 0] if kind.curves else ys, bottom, TOP, log=kind.log_y, from_zero=kind.curves)
    extra, extra_label = _extra(kind, panel, x, y)
    return Drawing(
        title=panel.title,
        height=HEIGHT,
        left=LEFT,
        x_name=kind.x,
        y_name=kind.y,
        x_ticks=_count_ticks(xs, x) if kind.curves else _ticks(x),
        y_ticks=_ticks(y),
        lines=tuple(_line(kind, series, x, y) for series in panel.series if series.points),
        extra=extra,
        extra_label=extra_label,
        words=_place_words(panel, points, x, y),
    )


def lay_out_bars(panel: BarPanel) -> Drawing:
    """Place bars below each other, their labels to the left.

    Args:
        panel: with at least one bar.
    """
    largest = max(bar.size for bar in panel.bars)
    unit, format_bytes = memory_unit(largest)
    size = 2**30 if unit == "GiB" else 2**20
    left = min(20 + LABEL_WIDTH * max(len(bar.label) for bar in panel.bars), WIDTH / 2)
    x = Scale(low=0, high=1.02 * largest / size, start=left, end=WIDTH - RIGHT)
    names = list(dict.fromkeys([*COLOURS, *(name for bar in panel.bars for name, _ in bar.parts)]))
    strips = []
    for place, bar in enumerate(panel.bars):
        words = ", ".join(f"{name} {format_bytes(part)}" for name, part in bar.parts)
        tip = f"{bar.label}: {format_bytes(bar.size)} {unit}: {words}"
        parts, start = [], 0
        for name, part in bar.parts:
            ends = x(start / size), x((start + part) / size)
            parts.append(Part(ends[0], round(ends[1] - ends[0], 1), names.index(name)))
            start += part
        strips.append(Strip(y=TOP + PITCH * place, label=bar.label, tip=tip, parts=tuple(parts)))
    used = {name for bar in panel.bars for name, _ in bar.parts}
    return Drawing(
        title=panel.title,
        height=TOP + PITCH * len(panel.bars) + BOTTOM,
        left=left,
        x_name=f"{unit} (2^{30 if unit == 'GiB' else 20} bytes)",
        y_name="",
        x_ticks=_ticks(x),
        y_ticks=(),
        strips=tuple(strips),
        categories=tuple((number, name) for number, name in enumerate(names) if name in used),
    )


def _scale(values: Sequence[float], start: float, end: float, *, log: bool, from_zero: bool = False) -> Scale:
    low, high = min(values), max(values)
    if log:
        low, high = low / 1.12, high * 1.12
    else:
        margin = 0.06 * (high - low or abs(high) or 1)
        low, high = (0 if from_zero else low - margin), high + margin
    return Scale(low=low, high=high, start=start, end=end, log=log)


def _ticks(scale: Scale) -> tuple[Tick, ...]:
    """About five round numbers."""
    values = _round_logs(scale) if scale.log else []
    if len(values) < 2:  # noqa: PLR2004 - of a short span 1, 2, 5 may leave one
        span = scale.high - scale.low
        size = 10 ** floor(log10(span / 4))
        step = next(size * times for times in (1, 2, 5, 10) if span / (size * times) <= 6)  # noqa: PLR2004 - lines
        first = ceil(scale.low / step)
        values = [step * number for number in range(first, floor(scale.high / step) + 1)]
    return tuple(Tick(scale(value), f"{value:.6g}".replace("-", "\N{MINUS SIGN}")) for value in values)


def _round_logs(scale: Scale) -> list[float]:
    decades = range(floor(log10(scale.low)), ceil(log10(scale.high)) + 1)
    values = [times * 10.0**decade for decade in decades for times in (1, 2, 5)]
    return [value for value in values if scale.low <= value <= scale.high]


def _count_ticks(counts: Sequence[float], scale: Scale) -> tuple[Tick, ...]:
    """Counts that occur, as far as their numbers do not run into each other."""
    ticks: list[Tick] = []
    for count in sorted({*counts}):
        if not ticks or scale(count) - ticks[-1].place >= 14:  # noqa: PLR2004 - two digits
            ticks.append(Tick(scale(count), f"{count:g}"))
    return tuple(ticks)


def _line(kind: Kind, series: Series, x: Callable[[float], float], y: Callable[[float], float]) -> Line:
    marks = tuple(Mark(x(point.x), y(point.y), point.tip or series.label) for point in series.points)
    return Line(
        label=series.label,
        look=series.look % len(PALETTE),
        shape=SHAPES[MARKERS[series.look % len(MARKERS)]],
        dashes=DASH_LENGTHS[DASHES[series.dash % len(DASHES)]],
        path=_path([(mark.x, mark.y) for mark in marks]) if kind.curves else "",
        marks=marks,
    )


def _extra(kind: Kind, panel: Panel, x: Scale, y: Scale) -> tuple[str, str]:
    if panel.level is not None:
        return _path([(x.start, y(panel.level)), (x.end, y(panel.level))]), "e2e"
    if kind.diagonal:
        return _path([(x.start, y.start), (x.end, y.end)]), "equal"
    if panel.front:
        places = [(x(point.x), y(point.y)) for point in panel.front]
        # From point to point the better of both is not reached: the line goes along the worse.
        corners = [
            corner
            for (left, high), (right, low) in pairwise(places)
            for corner in ((left, high), (right, high), (right, low))
        ]
        return _path(corners or places), "Pareto front"
    return "", ""


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _place_words(panel: Panel, points: Sequence[Point], x: Scale, y: Scale) -> tuple[tuple[float, float, str], ...]:
    front = {(point.x, point.y) for point in panel.front}
    ordered = sorted(points, key=lambda point: (point.x, point.y) not in front)
    # Places count from the top, room for labels from below.
    places = [(x(point.x), HEIGHT - y(point.y)) for point in ordered]
    sizes = [(WORDS_WIDTH * len(point.words), float(WORDS_HEIGHT)) for point in ordered]
    area = (float(LEFT), float(BOTTOM), float(WIDTH), float(HEIGHT))
    found = zip(ordered, place_labels(places, sizes, area, gap=5), strict=True)
    return tuple(
        (round(place[0], 1), round(HEIGHT - place[1] - 1.5, 1), point.words) for point, place in found if place
    )
