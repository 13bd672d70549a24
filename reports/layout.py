"""A table between building and rendering: texts to show, the rows they were made of, and what is said with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from reports.row import Row


@dataclass(frozen=True, slots=True)
class Column:
    """A header, in one or more lines, over one text per line of the table."""

    header: str
    cells: tuple[str, ...]
    align: Literal["left", "right"] = "right"


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
    header: str, rows: Iterable[Row], show: Callable[[Row], str], align: Literal["left", "right"] = "right"
) -> Column:
    """Column with one cell per row."""
    return Column(header, tuple(map(show, rows)), align)
