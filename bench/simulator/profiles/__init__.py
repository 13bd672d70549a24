"""Device profiles: what the simulator needs to know of a GPU that is not there. Imports no torch.

One JSON file per device, with values of public specifications. `memory_bytes` is the nominal memory: what a driver
reports is about 1 % less. A file of one's own has the same keys; `cudnn` may be left out, and then workspaces cannot be
taken from a live query. Its keys are those of cuDNN's device descriptor; what is known from the other fields (compute
capability, multiprocessors, ..) is filled in.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class UnknownProfileError(ValueError):
    """A name that is no profile's, or a file that cannot be read as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One GPU model."""

    name: str
    """As users write it, such as `H200`; of a file of one's own, the file's name without `.json`."""
    title: str
    """Name in prose, such as `NVIDIA H200`."""
    capability: tuple[int, int]
    """Compute capability, major and minor."""
    multiprocessors: int
    threads_per_multiprocessor: int
    """Most resident threads of one multiprocessor."""
    memory_bytes: int
    """Nominal device memory."""
    cudnn_json: str | None
    """The device in the words of cuDNN's device descriptor; None where the profile does not give them."""
    table: Path | None
    """Table of convolution workspaces shipped for this device; None where there is none."""


def list_profiles() -> tuple[str, ...]:
    """Names of the profiles shipped, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_profile(name: str) -> DeviceProfile:
    """The profile of this name, in any case, or that of a file ending in `.json`.

    Raises:
        UnknownProfileError: no such profile, with the nearest name; or a file that is missing, damaged or incomplete.
    """
    if name.lower().endswith(".json"):
        return _read_profile(Path(name).expanduser())
    names = {known.lower(): known for known in list_profiles()}
    if name.lower() in names:
        return _read_profile(FOLDER / f"{names[name.lower()]}.json")
    close = get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean '{names[close[0]]}'?" if close else f"there are {', '.join(names.values())}"
    raise UnknownProfileError(f"unknown device profile '{name}' (a file of your own ends in .json): {hint}")


def _read_profile(path: Path) -> DeviceProfile:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownProfileError(f"device profile {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UnknownProfileError(f"cannot read device profile {path}: {error}") from error
    if not isinstance(values, dict):
        raise UnknownProfileError(f"device profile {path} is no JSON object")
    return make_profile(values, path)


def make_profile(values: dict[str, Any], path: Path) -> DeviceProfile:
    """The profile that a JSON object describes.

    Args:
        values: its keys and values; keys that mean nothing to a profile are left alone.
        path: file it was in, which gives the name.

    Raises:
        UnknownProfileError: a key is missing or wrong.
    """
    major, minor = _read_capability(values, path)
    counts = {key: _read_count(values, key, path) for key in _COUNTS}
    title = values.get("title", path.stem)
    if not isinstance(title, str):
        raise UnknownProfileError(f"device profile {path}: 'title' is text, not {title!r}")
    cudnn = values.get("cudnn")
    if cudnn is not None:
        if not isinstance(cudnn, dict):
            raise UnknownProfileError(f"device profile {path}: 'cudnn' is a JSON object, not {cudnn!r}")
        known = {cudnn_key: counts[key] for key, cudnn_key in _COUNTS.items()}
        cudnn = json.dumps({"deviceVer": 100 * major + 10 * minor, **known, **cudnn})
    table = path.with_suffix(".csv")
    return DeviceProfile(
        name=path.stem,
        title=title,
        capability=(major, minor),
        cudnn_json=cudnn,
        table=table if path.parent == FOLDER and table.exists() else None,
        **counts,
    )


_COUNTS = {
    "multiprocessors": "multiProcessorCount",
    "threads_per_multiprocessor": "maxThreadsPerSM",
    "memory_bytes": "totalGlobalMem",
}
"""Keys of a profile that are positive whole numbers, and what cuDNN calls them."""


def _read_capability(values: dict[str, Any], path: Path) -> tuple[int, int]:
    match values.get("capability"):
        case [int(major), int(minor)] if major > 0 and minor >= 0:
            return major, minor
        case other:
            raise UnknownProfileError(f"device profile {path}: 'capability' is [major, minor], not {other!r}")


def _read_count(values: dict[str, Any], key: str, path: Path) -> int:
    value = values.get(key)
    if type(value) is not int or value <= 0:
        raise UnknownProfileError(f"device profile {path}: '{key}' is a positive whole number, not {value!r}")
    return value
