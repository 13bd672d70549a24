"""What is modelled: a device, its allocator's settings, a version of torch."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.ground_truth import GroundTruth
from bench.simulator.allocator import Settings, parse_settings
from bench.simulator.operators import Device
from bench.simulator.profiles import DeviceProfile, load_profile, make_profile
from bench.simulator.workspaces import WorkspaceSource, source_of_lines, workspace_source
from results.record import Case

TIES_BY_BLOCK_SINCE, TIES_BY_SEGMENT_SINCE = (2, 12), (2, 13)
"""torch versions from which free blocks of equal size are taken by their own age, and by that of their segment (pull
request 183591), not by address."""
_FIXED = ("device_bytes", "limit_bytes", "ties_by_address", "ties_by_block")
"""What of an allocator's settings is the device's, the user's or torch's, and no part of `PYTORCH_ALLOC_CONF`."""


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

    def for_case(self, case: Case) -> "Model":
        """The model with the options of a case, for one simulation of it.

        Raises:
            AllocatorSettingError: the case has a setting that is not simulated.
        """
        source = self.source.with_trials() if case.cudnn_benchmark else self.source
        workspace = None if source.name == "none" else source
        device = replace(self.device, tf32=case.tf32, convolution_workspace=workspace)
        own = self.settings
        if case.allocator:
            fixed = {name: getattr(own, name) for name in _FIXED}
            own = parse_settings(case.allocator, **fixed)
        return replace(self, device=device, source=source, settings=own)


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
    fixed: dict[str, object] = dict(ties(version))
    if limit_bytes is not None:
        fixed["limit_bytes"] = limit_bytes
    return _model(device, source, version, parse_settings(allocator, **fixed))


def model_of(truth: GroundTruth, *, workspace: str = "measured") -> Model:
    """The model of the device, the allocator's settings and the torch of a ground truth.

    Args:
        truth: what a device said.
        workspace: `measured` for the workspaces in the truth, or another source by name.

    Raises:
        UnknownProfileError, AllocatorSettingError, WorkspaceTableError: the truth is damaged.
    """
    origin = Path("ground truth")
    profile = make_profile(truth.device, origin)
    if workspace == "measured":
        source = source_of_lines(truth.workspaces, origin, profile.capability)
    else:
        source = workspace_source(workspace, profile)
    settings = parse_settings(truth.allocator, **ties(truth.torch_version))
    return _model(profile, source, truth.torch_version, settings)


def _model(profile: DeviceProfile, source: WorkspaceSource, version: tuple[int, int], settings: Settings) -> Model:
    return Model(
        name=profile.title,
        device=Device(
            capability=profile.capability,
            multiprocessors=profile.multiprocessors,
            threads_per_multiprocessor=profile.threads_per_multiprocessor,
            torch_version=version,
            convolution_workspace=None if source.name == "none" else source,
            tf32=torch.backends.cudnn.allow_tf32,
        ),
        settings=settings,
        source=source,
    )


def ties(version: tuple[int, int]) -> dict[str, bool]:
    """The settings that say which of two free blocks of equal size this torch takes."""
    return {
        "ties_by_address": version < TIES_BY_BLOCK_SINCE,
        "ties_by_block": TIES_BY_BLOCK_SINCE <= version < TIES_BY_SEGMENT_SINCE,
    }


def running_version() -> tuple[int, int]:
    """Major and minor version of the torch that runs."""
    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(match[1]), int(match[2])) if match else (0, 0)
