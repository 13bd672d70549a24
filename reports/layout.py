"""A table between building and rendering: texts to show, the rows they were made of, and what is said with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from reports.row import Row
from reports.units import NOTHING

Source = Literal["", "simulated", "measured", "counted", "published"]
"""What the numbers of a column are; empty for labels, and for columns whose lines differ in it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A header, in one or more lines, over one text per line of the table."""

    header: str
    cells: tuple[str, ...]
    align: Literal["left", "right"] = "right"
    source: Source = ""


Group = tuple[Column, ...]
"""Columns that stay together where a table is wider than the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A finished table."""

    title: str
    labels: Group
    """What a line is about; repeated in every part of a folded table."""
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    """Raw values of the cases shown, for CSV and JSON."""
    notes: tuple[str, ...]
    """What the numbers mean, where they come from and what is missing."""


def column(
    header: str,
    rows: Iterable[Row],
    show: Callable[[Row], str],
    source: Source = "",
    align: Literal["left", "right"] = "right",
) -> Column:
    """Column with one cell per row."""
    return Column(header, tuple(map(show, rows)), align, source)


def trim(table: Table) -> Table:
    """The table without columns of published figures where no paper prints one."""
    groups = (
        tuple(each for each in group if each.source != "published" or set(each.cells) - {NOTHING, ""})
        for group in table.groups
    )
    return replace(table, groups=tuple(group for group in groups if group))
