"""Ground truth: what one device said of training steps, kept as a file that needs the device no more.

`peakbench validate SUITE --out FILE` makes one; `results/reference/` keeps those the simulator is held against on every
machine. A file is JSON: the device as a device profile has it, versions, settings of the allocator, bytes outside the
allocator, the peaks of every case in its first and its steady step, and the workspace of every convolution in them as
lines of a table (`bench/simulator/workspaces.py`), so that it serves as `--workspace measured:FILE` too. Imports no
torch.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from results.record import Case

KIND = "peakbench.ground_truth"
VERSION = 1

Peaks = dict[str, int]
"""Bytes by kind: requested, allocated, reserved."""


class GroundTruthError(ValueError):
    """A file that cannot be read as ground truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCase:
    """A case as the device ran it."""

    case: Case
    status: str
    """`ok`, `out_of_memory`, `timeout` or `failed`."""
    message: str | None = None
    first: Peaks | None = None
    """Of the first step; None where the case did not end well."""
    steady: Peaks | None = None
    """Of the third step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """Everything one device said."""

    started_at: str
    """UTC time in ISO 8601."""
    device: dict[str, Any]
    """With the keys of a device profile, and `stand_in`: whether kernels do nothing."""
    versions: dict[str, Any]
    """Of peakbench, torch, cuda, cudnn, driver, python."""
    allocator: str
    """Settings as in `PYTORCH_ALLOC_CONF`."""
    context_bytes: int | None
    """What a process holds beside the allocator's segments; None where the driver does not say."""
    cases: tuple[TrueCase, ...]
    workspaces: tuple[str, ...]
    """Lines of a table of workspaces."""

    @property
    def torch_version(self) -> tuple[int, int]:
        """Major and minor version of torch."""
        major, minor, *_ = str(self.versions["torch"]).split(".")
        return int(major), int(minor)


def write_ground_truth(path: Path, truth: GroundTruth) -> None:
    """Write a file, one case and one convolution per line, as diffs want it.

    Raises:
        OSError: it cannot be written.
    """
    values = {"kind": KIND, "version": VERSION, **asdict(truth)}
    parts = [f"{json.dumps(name)}: {_in_lines(value)}" for name, value in values.items()]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _in_lines(value: Any) -> str:
    if isinstance(value, tuple):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a file.

    Raises:
        GroundTruthError: it is missing, no JSON, of another kind or a newer version, or lacks something.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GroundTruthError(f"cannot read ground truth {path}: {error}") from error
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise GroundTruthError(f"{path} is no ground truth; `peakbench validate SUITE --out FILE` writes it")
    if values["version"] > VERSION:
        raise GroundTruthError(f"{path} was written by a newer peakbench (version {values['version']}): upgrade")
    try:
        cases = tuple(TrueCase(**{**one, "case": Case(**one["case"])}) for one in values["cases"])
        own = {field.name: values[field.name] for field in fields(GroundTruth)}
        return GroundTruth(**{**own, "cases": cases, "workspaces": tuple(values["workspaces"])})
    except (KeyError, TypeError) as error:
        raise GroundTruthError(f"ground truth {path} lacks or has too much: {error}") from error
