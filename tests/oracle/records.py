"""Reads what `record_device.py` wrote, and simulates the same steps on the same device."""

import gzip
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.simulator import simulate_step
from bench.simulator.allocator import Settings
from bench.simulator.model import Model, read_model, ties
from bench.simulator.profiles import list_profiles
from bench.simulator.simulate import Simulation
from bench.simulator.workspaces import ConvolutionSignature
from tests.oracle.compare import SIGNS
from tests.oracle.plain import CASES, name_key

STAND_IN_FOR = "H200"
"""Device whose properties and plans of cuDNN the stand-in has where a record is committed."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one device did in plain training steps."""

    name: str
    device: dict[str, Any]
    peaks: dict[str, dict[str, Any]]
    """By case and TF32; `out_of_memory` alone where it did not run."""
    events: dict[str, list[int]]
    """Bytes of one later step, negative where they are given back."""
    workspaces: dict[ConvolutionSignature, int]
    """Bytes that one convolution borrowed."""

    @property
    def is_stand_in(self) -> bool:
        """Whether kernels did nothing."""
        return self.device["name"].startswith("Hollow")

    @property
    def torch_version(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor, *_ = self.device["torch"].split(".")
        return int(major), int(minor)

    @property
    def profile(self) -> str:
        """Name of the device profile."""
        if self.is_stand_in:
            return STAND_IN_FOR
        found = [name for name in list_profiles() if name.removeprefix("RTX") in self.device["name"]]
        if not found:
            raise LookupError(f"no device profile for '{self.device['name']}' ({self.name}): add one")
        return max(found, key=len)

    def model(self, *, tf32: bool, workspace: str) -> Model:
        """The simulator's model of this device with this torch."""
        model = read_model(self.profile, workspace=workspace)
        device = replace(model.device, torch_version=self.torch_version, tf32=tf32)
        return replace(model, device=device, settings=Settings(**ties(self.torch_version)))


def list_records(folder: Path) -> list[Path]:
    """Folders of records in a folder."""
    return sorted(path.parent for path in folder.glob("*/peaks.json"))


@cache
def read_record(folder: Path) -> Record:
    """The record in a folder."""
    events = json.loads(gzip.decompress((folder / "events.json.gz").read_bytes()))
    rows = json.loads((folder / "workspaces.json").read_text())
    return Record(
        name=folder.name,
        device=json.loads((folder / "device.json").read_text()),
        peaks=json.loads((folder / "peaks.json").read_text()),
        events={
            key: [SIGNS[action] * size for action, size in trace if action in SIGNS] for key, trace in events.items()
        },
        workspaces={
            _signature(row, direction): row[direction]
            for row in rows
            for direction in ("forward", "input_gradient", "weight_gradient")
        },
    )


def _signature(row: dict[str, Any], direction: Any) -> ConvolutionSignature:
    batch, inputs, size, outputs, kernel, stride = row["shape"]
    return ConvolutionSignature(
        direction=direction, dtype=row["dtype"].removeprefix("torch."), tf32=row["tf32"],
        input_shape=(batch, inputs, size, size), weight_shape=(outputs, inputs, kernel, kernel),
        stride=(stride, stride), padding=(kernel // 2, kernel // 2), dilation=(1, 1),
    )  # fmt: skip


def simulate(record: Record, key: str, *, workspace: str) -> Simulation:
    """A case of a record, simulated on its device."""
    case, tf32 = next(
        (case, tf32)
        for name, case in CASES.items()
        for tf32 in (True, False)
        if name_key(name, case.batch, tf32=tf32) == key
    )
    return simulate_step(case.build, record.model(tf32=tf32, workspace=workspace))


def without_borrowed(events: list[int]) -> list[int]:
    """Events without blocks that are given back before anything else happens, as a library's workspaces are."""
    kept: list[int] = []
    for size in events:
        if kept and size < 0 and kept[-1] == -size:
            kept.pop()
        else:
            kept.append(size)
    return kept
