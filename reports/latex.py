"""Tables as LaTeX: booktabs rules, a caption, notes below; every part of a wide table is a tabular of its own."""

from collections.abc import Iterable, Sequence

from reports.layout import Column, Table

PREAMBLE = r"% needs \usepackage{booktabs} and \usepackage{graphicx}"
_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    # A bracket behind the end of a line would be read as its option.
    "[": "{[}",
    "]": "{]}",
}


def escape(text: str) -> str:
    """Text in which nothing is markup."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def to_latex(tables: Sequence[Table]) -> str:
    """One `table` environment per table; each shrinks to the width of the text where it is wider."""
    return "\n".join([PREAMBLE, *map(_to_environment, tables)]) + "\n"


def _to_environment(table: Table) -> str:
    columns = [*table.labels, *(column for group in table.groups for column in group)]
    body = zip(*(column.cells for column in columns), strict=True)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.title)}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{''.join(column.align[0] for column in columns)}}}",
        r"    \toprule",
        *_to_head(columns),
        r"    \midrule",
        *(_to_line(map(_indented, cells)) for cells in body),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"  \par\smallskip\footnotesize\raggedright",
        *(rf"  {escape(note)}\par" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _to_head(columns: Sequence[Column]) -> list[str]:
    """As many lines as the tallest header has, all headers standing on the last."""
    headers = [column.header.split("\n") for column in columns]
    height = max(map(len, headers))
    padded = [[""] * (height - len(header)) + header for header in headers]
    return [_to_line(map(escape, cells)) for cells in zip(*padded, strict=True)]


def _indented(text: str) -> str:
    """Blanks before a text make its line belong to the one above."""
    bare = text.lstrip()
    return (r"\quad " if bare != text else "") + escape(bare)


def _to_line(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"
