"""What is modelled: a device, its allocator's settings, a version of torch."""

import re
from dataclasses import dataclass

import torch

from bench.simulator.allocator import Settings, parse_settings
from bench.simulator.operators import Device

TIES_BY_AGE_SINCE = (2, 13)
"""torch version from which free blocks of equal size are taken by the age of their segment (pull request 183591)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A CUDA device with torch's allocator on it."""

    name: str
    """Device, as tables show it."""
    device: Device
    settings: Settings
    workspace: str
    """Source of the convolution workspaces."""


def read_model(*, allocator: str = "", limit_bytes: int | None = None) -> Model:
    """The model that users describe.

    Args:
        allocator: settings as in `PYTORCH_ALLOC_CONF`.
        limit_bytes: most bytes of segments; None for no limit.

    Raises:
        AllocatorSettingError: an unknown setting or value.
    """
    version = running_version()
    fixed: dict[str, object] = {"ties_by_address": version < TIES_BY_AGE_SINCE}
    if limit_bytes is not None:
        fixed["limit_bytes"] = limit_bytes
    return Model(
        name="NVIDIA H200",
        device=Device(torch_version=version),
        settings=parse_settings(allocator, **fixed),
        workspace="none",
    )


def running_version() -> tuple[int, int]:
    """Major and minor version of the torch that runs."""
    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(match[1]), int(match[2])) if match else (0, 0)
