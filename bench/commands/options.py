"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from methods.registry import add_plugin


def _add_plugins(files: list[Path] | None) -> None:
    for file in files or ():
        add_plugin(file)


PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_add_plugins,
        is_eager=True,
        help="Python file with methods of your own (docs/adding-a-method.md); may be given again.",
    ),
]
"""Read before any other option, and by nothing else: methods are in the registry from then on."""
