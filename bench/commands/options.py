"""Options that several commands have: the factors of a case and of the device, and plug-ins."""

from pathlib import Path
from typing import Annotated

import typer

from methods.registry import add_plugin

Dataset = Annotated[str | None, typer.Option(help="Dataset; the network's own by default.")]
Batch = Annotated[int, typer.Option(help="Images per step.")]
Precision = Annotated[str, typer.Option(help="float32, or bfloat16 or float16 by autocast.")]
Tf32 = Annotated[bool, typer.Option(help="Whether float32 may run as TF32.")]
MemoryFormat = Annotated[str, typer.Option(help="contiguous or channels_last.")]
CudnnBenchmark = Annotated[
    bool, typer.Option(help="Whether cuDNN tries its algorithms; their memory is known to --workspace cudnn.")
]
Optimizer = Annotated[
    str | None, typer.Option(help="sgd as in the papers, adam or adamw; the method's own by default.")
]
Allocator = Annotated[str, typer.Option(help="Settings as in PYTORCH_ALLOC_CONF.")]
DeviceProfile = Annotated[
    str,
    typer.Option(help="Device that is modelled: A100, H100, H200, RTX3090, RTX4090, T4, V100, or a .json file."),
]
Workspace = Annotated[str, typer.Option(help="Convolution workspaces: none, table, cudnn, bound, or measured:FILE.")]


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
        help="Python file with methods of your own; may be given again.",
    ),
]
"""Read before any other option, and by nothing else: methods are in the registry from then on."""
