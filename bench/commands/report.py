"""`peakbench report`: tables from the records of runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

PAGE = "page"
"""All reports of a run at once."""


class Format(StrEnum):
    """How tables are written."""

    RICH = "rich"
    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"
    CSV = "csv"
    JSON = "json"


def report(
    name: Annotated[
        str,
        typer.Argument(
            help="overhead, memory, device (of a GPU), topology (context), imagenet, segmentation, splits, tradeoff, "
            "table10 (inference) or table12 (step time); page: all of them with figures, as one HTML file."
        ),
    ],
    run: Annotated[list[Path], typer.Option(help="Folder or Parquet file of a run; may be given again.")],
    format: Annotated[Format, typer.Option(help="How the tables are written.")] = Format.RICH,  # noqa: A002
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of printing.")] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw memory, splits or tradeoff as .png, .svg or .pdf as well."),
    ] = None,
) -> None:
    """Tables in the papers' layout, beside the published figures.

    Example:  peakbench report overhead --run runs/cifar

    Example:  peakbench report memory --run runs/cifar --format latex > memory.tex

    Example:  peakbench report tradeoff --run runs/cifar --figure tradeoff.svg

    Example:  peakbench report page --run runs/cifar --out cifar.html
    """
    from reports.render import render  # noqa: PLC0415 - pandas and pyarrow only where records are read
    from reports.tables import ReportError, find_figure, find_report  # noqa: PLC0415
    from results.store import read_runs  # noqa: PLC0415

    if name == PAGE:
        from reports.page import to_page  # noqa: PLC0415

        if as_json or figure or format not in {Format.RICH, Format.HTML}:
            raise ReportError("the page is HTML with its figures inside; leave --format, --json and --figure out")
        arguments = ["peakbench", "report", PAGE, *(word for path in run for word in ("--run", str(path)))]
        _write(to_page(read_runs(run), arguments + (["--out", str(out)] if out else [])), out)
        return
    build = find_report(name)
    draw = find_figure(name) if figure else None
    measurements = read_runs(run)
    tables = build(measurements)
    if draw and figure:
        draw(measurements, figure)
    _write(render(tables, "json" if as_json else format.value), out)


def _write(text: str, out: Path | None) -> None:
    from reports.tables import ReportError  # noqa: PLC0415 - as above

    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {out}: {error.strerror}; choose another --out") from error
