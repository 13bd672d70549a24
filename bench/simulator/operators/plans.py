"""What a rule writes: the order in which the memory of one call comes and goes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.simulator.workspaces import ConvolutionSignature


@dataclass(frozen=True, slots=True)
class Born:
    """A temporary is born."""

    bytes: int
    workspace: bool = False
    """Memory of a library (cuBLAS, cuDNN) rather than of torch."""
    kept: bool = False
    """Each thread keeps one of this size for good: it is born once, and does not die."""


@dataclass(frozen=True, slots=True)
class Dies:
    """The temporary born as number `index` of this plan dies."""

    index: int


@dataclass(frozen=True, slots=True)
class Output:
    """Output number `index` is born, with the bytes of its storage or with `bytes`."""

    index: int
    bytes: int | None = None


Plan = Sequence[Born | Dies | Output]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What rules need to know of the device and of torch."""

    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    threads_per_multiprocessor: int = 2048
    torch_version: tuple[int, int] = (2, 15)
    convolution_workspace: Callable[[ConvolutionSignature], int] | None = None
    """Bytes cuDNN takes for one of the three convolutions of a layer; None: nothing."""
    tf32: bool = True
    """Whether cuDNN may run float32 convolutions as TF32."""


class Draft:
    """A plan being written. What has no bytes is left out, as the allocator gives nothing for it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.items: list[Born | Dies | Output] = []
        self._count = 0

    def born(self, size: int, *, workspace: bool = False, kept: bool = False) -> int | None:
        """Bear a temporary; returns what `dies` takes."""
        if size == 0:
            return None
        self.items.append(Born(size, workspace, kept))
        self._count += 1
        return self._count - 1

    def dies(self, *temporaries: int | None) -> None:
        """Let temporaries die, in this order."""
        self.items.extend(Dies(temporary) for temporary in temporaries if temporary is not None)

    def passing(self, *sizes: int, workspace: bool = False, kept: bool = False) -> None:
        """Temporaries that are born one after the other and die in reverse order."""
        self.dies(*reversed([self.born(size, workspace=workspace, kept=kept) for size in sizes]))

    def output(self, index: int = 0, size: int | None = None) -> None:
        """Bear an output, with the bytes of its storage or with `size`."""
        if size != 0:
            self.items.append(Output(index, size))

    def outputs(self, count: int) -> None:
        """Bear the first `count` outputs in order."""
        for index in range(count):
            self.output(index)


Rule = Callable[..., None]
"""Takes the draft and the arguments of the call, and writes the plan."""


def dense_bytes(tensor: Tensor) -> int:
    """Of a dense copy of the tensor."""
    return tensor.numel() * tensor.element_size()


def copy_if(wanted: bool, tensor: Tensor) -> int:
    """Bytes of a dense copy where one is wanted, else 0."""
    return dense_bytes(tensor) if wanted else 0


def broadcast(*tensors: Tensor) -> tuple[tuple[int, ...], int]:
    """Shape of an elementwise result and its bytes."""
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    kind = tensors[0].dtype
    for tensor in tensors[1:]:
        kind = torch.promote_types(kind, tensor.dtype)
    return tuple(shape), math.prod(shape) * kind.itemsize


def divide_up(number: int, by: int) -> int:
    """Quotient, rounded up."""
    return -(-number // by)


def padded(number: int, multiple: int) -> int:
    """The next multiple."""
    return divide_up(number, multiple) * multiple


def power_below(number: int) -> int:
    """The greatest power of two that is not above (last_pow2)."""
    return 1 << max(number.bit_length() - 1, 0)
