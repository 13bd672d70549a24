"""What is modelled: a device, its allocator's settings, a version of torch."""

import re
from dataclasses import dataclass

import torch

from bench.simulator.allocator import Settings, parse_settings
from bench.simulator.operators import Device
from bench.simulator.profiles import load_profile
from bench.simulator.workspaces import WorkspaceSource, workspace_source

TIES_BY_AGE_SINCE = (2, 13)
"""torch version from which free blocks of equal size are taken by the age of their segment (pull request 183591)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A CUDA device with torch's allocator on it."""

    name: str
    """Device, as tables show it."""
    device: Device
    settings: Settings
    source: WorkspaceSource
    """Of the convolution workspaces."""

    @property
    def workspace(self) -> str:
        """Source of the convolution workspaces in words, with how often it had to fall back."""
        return self.source.label


def read_model(
    profile: str = "H200", *, workspace: str = "none", allocator: str = "", limit_bytes: int | None = None
) -> Model:
    """The model that users describe.

    Args:
        profile: name of a shipped device profile, or the path of a file of one's own.
        workspace: source of the convolution workspaces: `none`, `table`, `cudnn`, `bound`, or `measured:FILE`.
        allocator: settings as in `PYTORCH_ALLOC_CONF`.
        limit_bytes: most bytes of segments; None for no limit.

    Raises:
        UnknownProfileError: no such device profile.
        UnknownSourceError: no such source of workspaces; see also `workspaces.workspace_source`.
        AllocatorSettingError: an unknown setting or value.
    """
    device = load_profile(profile)
    name, _, file = workspace.partition(":")
    source = workspace_source(name, device, measured=file or None)
    version = running_version()
    fixed: dict[str, object] = {"ties_by_address": version < TIES_BY_AGE_SINCE}
    if limit_bytes is not None:
        fixed["limit_bytes"] = limit_bytes
    return Model(
        name=device.title,
        device=Device(
            capability=device.capability,
            multiprocessors=device.multiprocessors,
            threads_per_multiprocessor=device.threads_per_multiprocessor,
            torch_version=version,
            convolution_workspace=None if name == "none" else source,
            tf32=torch.backends.cudnn.allow_tf32,
        ),
        settings=parse_settings(allocator, **fixed),
        source=source,
    )


def running_version() -> tuple[int, int]:
    """Major and minor version of the torch that runs."""
    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(match[1]), int(match[2])) if match else (0, 0)
