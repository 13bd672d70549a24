"""Which container a process runs inside, by the signs that runtimes leave, and its limits. Imports no torch."""

import os
from collections.abc import Mapping
from pathlib import Path

_BY_FILE = {".dockerenv": "docker", "run/.containerenv": "podman", ".singularity.d": "apptainer"}
"""Left in the root of the file system."""
_BY_VARIABLE = {
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "APPTAINER_CONTAINER": "apptainer",
    "SINGULARITY_CONTAINER": "apptainer",
    "container": "",
}
"""Set for processes inside; `container` holds the name itself, as systemd-nspawn, LXC and others set it."""
_BY_GROUP = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "containerd": "containerd", "lxc": "lxc"}
"""Parts of the names of control groups."""


def find_container(root: Path = Path("/"), variables: Mapping[str, str] = os.environ) -> str:
    """Name of the container's runtime, `kubernetes` before what it runs on; `none` without a sign of one.

    Args:
        root: of the file system.
        variables: of the process.
    """
    found = [name or variables[key] for key, name in _BY_VARIABLE.items() if variables.get(key)]
    found += [name for file, name in _BY_FILE.items() if (root / file).exists()]
    text = _read(root / "proc/1/cgroup")
    found += [name for part, name in _BY_GROUP.items() if part in text]
    return "kubernetes" if "kubernetes" in found else next(iter(found), "none")


def read_limits(root: Path = Path("/")) -> tuple[float | None, int | None]:
    """Cores, and bytes of memory, that control groups (version 2) leave to this process; None: no limit is known.

    Args:
        root: of the file system.
    """
    lines = _read(root / "proc/self/cgroup").splitlines()
    name = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    top = root / "sys/fs/cgroup"
    groups = [top / name, *(top / above for above in Path(name).parents)]  # a limit holds for all groups below
    quotas = [_read(group / "cpu.max").split() for group in groups]
    sizes = [_read(group / "memory.max").strip() for group in groups]
    cores = [int(quota[0]) / int(quota[1]) for quota in quotas if quota and quota[0].isdecimal()]
    return min(cores, default=None), min((int(size) for size in sizes if size.isdecimal()), default=None)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
