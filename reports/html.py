"""Tables and charts as one page of HTML that needs no other file and no network.

The page is written by `templates/page.html`; `page.js` makes tables sortable and lets points be pointed at, and without
it everything can still be read. The page's own policy forbids every request and every script but this one.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import groupby

from jinja2 import DictLoader, Environment, StrictUndefined

from reports.layout import Column, Table
from reports.panels import COLOURS, PALETTE

DARK_PALETTE = ("#8C7FE0", "#E58FA0", "#4FB36A", "#DDCC77", "#88CCEE", "#D070A5", "#5CC7B5", "#B8B84D", "#CC7FC4")
"""The palette on a dark page, lighter where it was dark."""


PRINT_SIZES = (8, 7, 6, 5, 4, 3)
"""Points of type a printed table may have."""
CHARACTER = 0.62
"""Width of a character on average, beside the size of its type."""
PRINT_WIDTH = 520
"""Points across a page of A4 within its margins."""


def to_html(tables: Sequence[Table]) -> str:
    """A whole page of tables alone."""
    return render_page(title=f"peakbench: {tables[0].title}", heading="", tables=tables)


def render_page(**content: object) -> str:
    """Fill the template.

    Args:
        content: what it shows, by the names in `templates/page.html`; texts are escaped there.
    """
    parts = {name: _read(name) for name in ("page.css", "page.js")}
    rules = "\n".join(
        f":root {{ {_name_colours(PALETTE)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_name_colours(DARK_PALETTE)} }} }}\n"
        f"{_use_colours()}".splitlines()
    )
    style, script = f"{parts['page.css']}{rules}\n{_paint_parts()}{_size_prints()}", parts["page.js"]
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    names = dict.fromkeys(("intro", "sections", "missing", "environments", "commands"))
    template = _environment().get_template("page.html")
    return template.render(**(names | content | hashes), style=style, script=script)


def _paint_parts() -> str:
    """Colours of categories, the same on every page: their places in a bar tell them apart as well."""
    return "".join(f".part-{number} {{ fill: {colour}; }}\n" for number, colour in enumerate(COLOURS.values()))


def _size_prints() -> str:
    rules = " ".join(f"table.size-{size} {{ font-size: {size}pt; }}" for size in PRINT_SIZES)
    return f"@media print {{ {rules} }}\n"


def _name_colours(colours: Sequence[str]) -> str:
    return " ".join(f"--look-{number}: {colour};" for number, colour in enumerate(colours))


def _use_colours() -> str:
    numbers = range(len(PALETTE))
    return "\n".join(f".look-{number} {{ --look: var(--look-{number}); }}" for number in numbers)


def _hash(text: str) -> str:
    """What the page's policy knows a script or a style by."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader({"page.html": _read("page.html"), "parts.html": _read("parts.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "columns_of": _columns_of,
        "heads_of": _heads_of,
        "lines_of": _lines_of,
        "size_of": _size_of,
    }
    return environment


def _read(name: str) -> str:
    return files("reports").joinpath("templates", name).read_text(encoding="utf-8")


def _columns_of(table: Table) -> list[Column]:
    return [*table.labels, *(column for group in table.groups for column in group)]


def _lines_of(table: Table) -> list[Mapping[str, object]]:
    """Cells of every line, and whether it belongs to the one above, as an indented label says."""
    lines = zip(*(column.cells for column in _columns_of(table)), strict=True)
    return [{"cells": cells, "belongs": cells[0].startswith(" ")} for cells in lines]


def _heads_of(table: Table) -> list[tuple[str, int]]:
    """What columns beside each other are, simulated or published, and how many there are; none where none says it."""
    sources = [column.source for column in _columns_of(table)]
    return [(source, len(list(run))) for source, run in groupby(sources)] if any(sources) else []


def _size_of(table: Table) -> str:
    """Class of the size of type in which a table fits the width of a printed page."""
    lines = [[*column.header.split("\n"), *column.cells] for column in _columns_of(table)]
    characters = sum(max(map(len, texts)) + 1 for texts in lines)
    return (
        f"size-{next((size for size in PRINT_SIZES if characters * CHARACTER * size < PRINT_WIDTH), PRINT_SIZES[-1])}"
    )
