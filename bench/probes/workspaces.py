"""Reads the workspace that torch takes for one convolution, from the events of its CUDA caching allocator.

Sees: what is born and given back within one call, in bytes asked for.
Does not see: how often cuDNN would choose otherwise next to other work, or with `cudnn.benchmark`.
"""

from typing import Any

import torch
from torch import Tensor

from bench.simulator.workspaces import ConvolutionSignature


class WorkspaceReadingError(RuntimeError):
    """A convolution that borrows more than a workspace."""


def measure_workspace(signature: ConvolutionSignature) -> int:
    """Bytes that torch borrows during one convolution on the CUDA device of this machine.

    Raises:
        WorkspaceReadingError: it borrows more than one block.
        RuntimeError: the device cannot run it.
    """
    tensors = [_make(shape, signature) for shape in (signature.output_shape, signature.input_shape)]
    gradient, source, weight = *tensors, _make(signature.weight_shape, signature)
    extra = list(signature.output_padding or (0,) * len(signature.stride))
    options = (
        list(signature.stride), list(signature.padding), list(signature.dilation), signature.transposed, extra,
        signature.groups,
    )  # fmt: skip

    def run() -> Any:
        if signature.direction == "forward":
            return torch.ops.aten.convolution.default(source, weight, None, *options)
        mask = [signature.direction == "input_gradient", signature.direction == "weight_gradient", False]
        return torch.ops.aten.convolution_backward.default(gradient, source, weight, None, *options, mask)

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = signature.tf32
    try:
        run()  # the first call of a process may also make what lasts, such as handles of libraries
        torch.cuda.memory._record_memory_history(context=None)  # noqa: SLF001 - torch has no other way to see events
        result = run()
        snapshot: Any = torch.cuda.memory._snapshot()  # noqa: SLF001
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001
    del result
    given_back = [event["size"] for event in snapshot["device_traces"][0] if event["action"] == "free_requested"]
    if len(given_back) > 1:
        raise WorkspaceReadingError(f"more than a workspace is borrowed ({given_back} bytes): {signature}")
    return sum(given_back)


def _make(shape: tuple[int, ...], signature: ConvolutionSignature) -> Tensor:
    tensor = torch.empty(shape, dtype=getattr(torch, signature.dtype), device="cuda")
    return tensor.to(memory_format=torch.channels_last) if signature.channels_last else tensor
