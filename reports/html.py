"""Tables as a page of plain HTML: captions, header cells with scope, numbers to the right; no script, no network."""

from collections.abc import Sequence
from html import escape

from reports.layout import Column, Table

STYLE = """\
body { font-family: system-ui, sans-serif; line-height: 1.4; margin: 1rem; color: #111; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; padding: 0.5rem 0; }
th, td { padding: 0.2rem 0.6rem; white-space: pre; text-align: left; }
thead th { vertical-align: bottom; border-bottom: 2px solid #111; }
tbody tr { border-bottom: 1px solid #ccc; }
tbody th { font-weight: normal; }
.number { text-align: right; }
ul { max-width: 60rem; font-size: 0.9rem; }
"""


def to_html(tables: Sequence[Table]) -> str:
    """A whole page that needs no other file."""
    body = "\n".join(map(_to_section, tables))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>peakbench: {escape(tables[0].title)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _to_section(table: Table) -> str:
    columns = [*table.labels, *(column for group in table.groups for column in group)]
    heads = "".join(f'<th scope="col"{_class_of(column)}>{escape(column.header)}</th>' for column in columns)
    lines = [_to_line(columns, cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in table.notes)
    # A table wider than the screen scrolls by itself, and by the keyboard as well.
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(table.title)}">\n'
        f"<table>\n<caption>{escape(table.title)}</caption>\n<thead>\n<tr>{heads}</tr>\n</thead>\n"
        "<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>\n</div>\n" + (f"<ul>\n{notes}\n</ul>" if notes else "")
    )


def _to_line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """The first cell says what the line is about."""
    first = f'<th scope="row"{_class_of(columns[0])}>{escape(cells[0])}</th>'
    others = [
        f"<td{_class_of(column)}>{escape(cell)}</td>" for column, cell in zip(columns[1:], cells[1:], strict=True)
    ]
    return f"<tr>{first}{''.join(others)}</tr>"


def _class_of(column: Column) -> str:
    return ' class="number"' if column.align == "right" else ""
