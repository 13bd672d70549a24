"""`peakbench compare`: what changed from one run to another."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How changes are written."""

    RICH = "rich"
    MARKDOWN = "markdown"
    JSON = "json"


def compare(
    before: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder or Parquet file of the earlier run.")],
    after: Annotated[Path, typer.Argument(metavar="RUN_B", help="Of the later run.")],
    anyway: Annotated[bool, typer.Option(help="Also compare runs of unlike machines or versions.")] = False,
    format: Annotated[Format, typer.Option(help="How the changes are written.")] = Format.RICH,  # noqa: A002
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """What changed from one run to another: peaks to the byte, step times where their intervals do not touch.

    Runs of another device, torch or simulator are refused: there everything may change.

    Example:  peakbench compare runs/before runs/after

    Example:  peakbench compare runs/h100 runs/h200 --anyway --format markdown
    """
    from reports.render import render  # noqa: PLC0415 - pandas and pyarrow only where records are read
    from reports.run_changes import compare_runs, find_unlike, summarise, tabulate, to_json  # noqa: PLC0415
    from results.store import read_runs  # noqa: PLC0415

    changes = compare_runs(read_runs(before), read_runs(after), anyway)
    unlike = find_unlike((change.before, change.after) for change in changes if change.before and change.after)
    if as_json or format == Format.JSON:
        listed = {"unlike": unlike, "summary": summarise(changes), "changes": [to_json(change) for change in changes]}
        typer.echo(json.dumps(listed, indent=2))
        return
    tables = tabulate(changes)
    typer.echo(f"{before} -> {after}: {summarise(changes)}")
    if unlike:
        typer.echo(f"Unlike: {'; '.join(unlike)}.")
    if tables:
        typer.echo("\n" + render(tables, format.value), nl=False)
