"""Finished tables as text in every format: for a terminal, as markdown, CSV and JSON here, LaTeX and HTML beside."""

import csv
import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from io import StringIO
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from reports.html import to_html
from reports.latex import to_latex
from reports.layout import Column, Group, Table, trim
from reports.notes import shared
from reports.row import Row

Format = Literal["rich", "markdown", "latex", "html", "csv", "json"]

GAPS = (2, 1)
"""Blanks between columns; the larger where it costs no further fold."""


def render(tables: Sequence[Table], format: Format, console_width: int = 80) -> str:  # noqa: A002 - the option's name
    """Tables as one text that ends with a newline.

    Args:
        tables: what a report built.
        format: `csv` and `json` keep raw values under the names of `Row`, the others show texts.
        console_width: characters per line of the terminal, for `rich`; a wider table is folded between its groups.
    """
    return FORMATS[format]([trim(table) for table in tables], console_width)


def _to_rich(tables: Sequence[Table], width: int) -> str:
    common = shared(tables)
    parts = []
    for table in tables:
        own = [note for note in table.notes if note not in common]
        parts.append("\n".join([table.title, "", *_draw(table, width), *_wrap(own, width)]))
    return _join([*parts, "\n".join(_wrap(common, width))])


def _to_markdown(tables: Sequence[Table], _: int) -> str:
    common = shared(tables)
    parts = []
    for table in tables:
        columns = [*table.labels, *(column for group in table.groups for column in group)]
        rule = ["---" if column.align == "left" else "---:" for column in columns]
        cells = zip(*(column.cells for column in columns), strict=True)
        lines = [_pipe([column.header for column in columns]), _pipe(rule), *map(_pipe, cells)]
        notes = [f"- {note}" for note in table.notes if note not in common]
        parts += [f"### {table.title}", "\n".join(lines), "\n".join(notes)]
    return _join([*parts, "\n".join(f"- {note}" for note in common)])


def _join(parts: Sequence[str]) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _pipe(texts: Iterable[str]) -> str:
    escaped = (text.strip().replace("|", r"\|").replace("\n", " ") for text in texts)
    return f"| {' | '.join(escaped)} |"


def _to_csv(tables: Sequence[Table], _: int) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for table in tables for row in table.rows)
    return text.getvalue()


def _to_json(tables: Sequence[Table], _: int) -> str:
    listed = [{"title": t.title, "rows": [asdict(row) for row in t.rows], "notes": t.notes} for t in tables]
    return json.dumps({"tables": listed}, indent=2) + "\n"


FORMATS: dict[Format, Callable[[Sequence[Table], int], str]] = {
    "rich": _to_rich,
    "markdown": _to_markdown,
    "latex": lambda tables, _: to_latex(tables),
    "html": lambda tables, _: to_html(tables),
    "csv": _to_csv,
    "json": _to_json,
}


def _wrap(notes: Sequence[str], width: int) -> list[str]:
    return [textwrap.fill(note, width, subsequent_indent="  ", break_on_hyphens=False) for note in notes]


def _draw(table: Table, width: int) -> list[str]:
    """The table in as few parts as the width allows, each with the labels and a blank line after it."""

    def rank(gap: int) -> tuple[int, bool, int]:
        parts = _fold(table, gap, width)
        too_wide = any(_width_of(table.labels, part, gap) > width for part in parts)
        return (len(parts), too_wide, -gap)

    gap = min(GAPS, key=rank)
    return [line for part in _fold(table, gap, width) for line in (_draw_part(table.labels, part, gap), "")]


def _fold(table: Table, gap: int, width: int) -> list[list[Group]]:
    parts: list[list[Group]] = [[]]
    for group in table.groups:
        if parts[-1] and _width_of(table.labels, [*parts[-1], group], gap) > width:
            parts.append([])
        parts[-1].append(group)
    return parts


def _width_of(labels: Group, groups: Sequence[Group], gap: int) -> int:
    return max(map(cell_len, _draw_part(labels, groups, gap).splitlines()))


def _draw_part(labels: Group, groups: Sequence[Group], gap: int) -> str:
    # Wide enough for any table: lines are broken between groups or not at all.
    console = Console(file=StringIO(), width=10_000, force_terminal=False, color_system=None)
    with console.capture() as text:
        console.print(_grid(labels, groups, gap))
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def _grid(labels: Group, groups: Sequence[Group], gap: int) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    columns: list[Column] = [*labels, *(column for group in groups for column in group)]
    for column in columns:
        grid.add_column(Text(column.header), justify=column.align, vertical="bottom", no_wrap=True)
    for line in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*map(Text, line))
    return grid
