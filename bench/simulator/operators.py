"""What operators allocate for themselves on CUDA, beside their outputs.

A plan says, for one call, in which order memory comes and goes: temporaries are born and die, outputs are born. An operator
without a rule allocates its outputs in order and nothing else. Every rule was read off the event stream of torch's own
CUDA dispatch (`tests/oracle/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Born:
    """A temporary is born."""

    bytes: int
    workspace: bool = False
    """Memory of a library (cuBLAS, cuDNN) rather than of torch."""


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


Rule = Callable[[tuple[Any, ...], dict[str, Any], Device], Plan]
"""From the arguments of a call to its plan."""


def plan_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan | None:
    """Plan of one call; None where the operator has no rule."""
    rule = RULES.get(func)
    return None if rule is None else rule(args, kwargs, device)


def cublas_workspace_bytes(device: Device) -> int:
    """Workspace torch gives to cuBLAS: 8.125 MiB below compute capability 9.0, 32 MiB from there on."""
    return 33_554_432 if device.capability >= (9, 0) else 8_519_680


CUBLASLT_WORKSPACE_BYTES = 2**20


def _matrix_product(args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan:
    return (Output(0), Born(cublas_workspace_bytes(device), workspace=True), Dies(0))


def _product_with_bias(args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan:
    """Addmm with a bias vector goes to cuBLASLt."""
    if args[0].dim() == 1:
        return (Output(0), Born(CUBLASLT_WORKSPACE_BYTES, workspace=True), Dies(0))
    return _matrix_product(args, kwargs, device)


def _binary_cross_entropy(args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan:
    """The kernel writes one loss per element and shrinks that tensor, not its storage, to the mean."""
    return (Output(0, args[0].numel() * args[0].element_size()),)


RULES: dict[Any, Rule] = {
    aten.mm.default: _matrix_product,
    aten.bmm.default: _matrix_product,
    aten.addmm.default: _product_with_bias,
    aten.binary_cross_entropy.default: _binary_cross_entropy,
}
