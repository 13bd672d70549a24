"""Records the workspaces torch allocates for convolutions, as truth for `tests/bench/simulator/test_workspaces.py`.

    python tests/oracle/record_workspaces.py tests/bench/simulator/workspaces_H200.csv

The device may be real, or a stand-in for the CUDA runtime whose kernels do nothing and whose cuDNN is the real one in
its device-less mode: only the events of torch's caching allocator are recorded. On a real device the same file is a
table for the source `measured`.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.probes.workspaces import measure_workspace
from bench.simulator.cudnn_query import library_version
from bench.simulator.workspaces import DIRECTIONS, ConvolutionSignature, format_table, runs_on_cudnn


def layer(source: tuple[int, ...], weight: tuple[int, ...], stride: int = 1, padding: int = 1, **others: Any) -> Any:
    """Forward of one layer in float32 with TF32; stride, padding and dilation are the same in all dimensions."""
    spatial = len(source) - 2
    dilation = (others.pop("dilation", 1),) * spatial
    return ConvolutionSignature(
        direction="forward", dtype="float32", input_shape=source, weight_shape=weight,
        stride=(stride,) * spatial, padding=(padding,) * spatial, dilation=dilation, **others,
    )  # fmt: skip


LAYERS = [
    layer((1024, 16, 32, 32), (16, 16, 3, 3)),
    layer((256, 3, 32, 32), (16, 3, 3, 3)),
    layer((64, 16, 32, 32), (32, 16, 3, 3), stride=2),
    layer((64, 16, 32, 32), (32, 16, 1, 1), stride=2, padding=0),
    layer((512, 64, 8, 8), (64, 64, 3, 3)),
    layer((64, 32, 32, 32), (12, 32, 3, 3)),
    layer((64, 12, 96, 96), (3, 12, 3, 3)),
    layer((32, 64, 56, 56), (256, 64, 1, 1), padding=0),
    layer((32, 3, 112, 112), (64, 3, 7, 7), stride=2, padding=3),
    layer((64, 32, 32, 32), (64, 8, 3, 3), groups=4),
    layer((64, 32, 32, 32), (32, 1, 3, 3), groups=32),
    layer((64, 64, 28, 28), (64, 1, 5, 5), padding=2, stride=2, groups=64),
    layer((64, 32, 16, 16), (16, 32, 3, 3), padding=2, dilation=2),
    layer((64, 32, 16, 16), (32, 16, 4, 4), stride=2, transposed=True),
    layer((64, 32, 16, 16), (32, 16, 3, 3), stride=2, transposed=True, output_padding=(1, 1)),
    layer((64, 32, 16, 16), (32, 1, 4, 4), stride=2, transposed=True, groups=32),
    layer((64, 16, 1024), (16, 16, 3)),
    layer((8, 16, 8, 16, 16), (16, 16, 3, 3, 3)),
    layer((64, 512, 1, 1), (256, 512, 1, 1), padding=0),
]
PRECISIONS = [("float32", True), ("float32", False), ("bfloat16", False), ("float16", False), ("float64", False)]


def list_signatures() -> list[ConvolutionSignature]:
    """What is recorded: every layer in every precision and, in two dimensions, both memory formats."""
    return [
        replace(each, direction=direction, dtype=dtype, tf32=tf32, channels_last=channels_last)
        for dtype, tf32 in PRECISIONS
        for channels_last in (False, True)
        for each in LAYERS
        if not channels_last or (len(each.input_shape) == 4 and dtype != "float64")
        for direction in DIRECTIONS
    ]


def main() -> None:
    capability = torch.cuda.get_device_capability()
    sizes = {each: measure_workspace(each) for each in list_signatures() if runs_on_cudnn(each, capability)}
    native = {each for each in list_signatures() if not runs_on_cudnn(each, capability) and each.dtype != "bfloat16"}
    borrowing = [each for each in native if measure_workspace(each)]
    if borrowing:
        raise RuntimeError(f"convolutions thought to run without cuDNN that borrow memory: {borrowing}")
    comment = (
        f"Bytes that torch {torch.__version__} with cuDNN {library_version()} borrowed on compute capability"
        f" {capability[0]}.{capability[1]}; made by python tests/oracle/record_workspaces.py"
    )
    Path(sys.argv[1]).write_text(format_table(sizes, [comment]), encoding="utf-8")


if __name__ == "__main__":
    main()
