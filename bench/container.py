"""Which container a process runs inside, by the signs that runtimes leave. Imports no torch."""

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
    groups = root / "proc/1/cgroup"
    text = groups.read_text(errors="replace") if groups.exists() else ""
    found += [name for part, name in _BY_GROUP.items() if part in text]
    return "kubernetes" if "kubernetes" in found else next(iter(found), "none")
