"""The environment fingerprint: everything that may move a reading, so that unlike things are not compared."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench import __version__
from bench.cases import sort_settings
from bench.container import find_container, read_limits
from bench.probes.nvml import open_gpu
from bench.simulator import SIMULATOR_VERSION
from results.record import Environment


def read_environment(device: torch.device | str) -> Environment:
    """Fingerprint of this process.

    Args:
        device: what the readings refer to; for simulated readings the name of the modelled device.
    """
    commit, dirty = _read_git()
    gpu = device if isinstance(device, torch.device) and device.type == "cuda" else None
    properties = torch.cuda.get_device_properties(gpu) if gpu else None
    cpu = _read_cpu_name()
    cpu_limit, memory_limit = read_limits()
    return Environment(
        peakbench_version=__version__,
        simulator_version=SIMULATOR_VERSION,
        torch_version=torch.__version__,
        torchvision_version=_read_version("torchvision"),
        cuda_version=torch.version.cuda,
        cudnn_version=_read_cudnn_version() if gpu else None,
        python_version=platform.python_version(),
        operating_system=platform.platform(),
        device_name=properties.name if properties else device if isinstance(device, str) else cpu,
        device_memory_bytes=_read_device_memory(device),
        cpu_name=cpu,
        cpu_count=len(os.sched_getaffinity(0)),
        thread_count=torch.get_num_threads(),
        git_commit=commit,
        git_dirty=dirty,
        container=find_container(),
        allocator_settings=read_allocator_settings(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cpu_governor=_read_governor(),
        cpu_limit=cpu_limit,
        memory_limit_bytes=memory_limit,
        **{"driver_version": None, **(read_gpu(read_uuid(gpu)) if gpu else {})},
    )


def _read_device_memory(device: torch.device | str) -> int | None:
    if isinstance(device, str):
        return None
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _read_cudnn_version() -> int | None:
    try:
        return torch.backends.cudnn.version()
    except RuntimeError:  # raised where torch and the cuDNN it finds do not fit; steps may still run
        return None


def read_uuid(device: torch.device) -> str | None:
    """What names a CUDA device on its machine."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else str(uuid)


def read_gpu(uuid: str | None = None) -> dict[str, Any]:
    """What NVML tells of the GPU this process sees first, as fields of `Environment`; nothing without NVML.

    Args:
        uuid: of the GPU as CUDA tells it.
    """
    gpu = open_gpu(uuid)
    if isinstance(gpu, str):
        return {}
    return {
        "driver_version": gpu.driver_version(),
        "default_clock_hertz": gpu.default_clock_hertz(),
        "set_clock_hertz": gpu.set_clock_hertz(),
        "persistence_mode": gpu.persistence_mode(),
        "mig_mode": gpu.mig_mode(),
    }


def read_allocator_settings() -> str:
    """Settings of the CUDA allocator that the shell gives, sorted by name."""
    return sort_settings(os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or "")


def _read_cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _read_governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


@cache
def _read_git() -> tuple[str | None, bool | None]:
    """Commit of the checkout this file lies in, and whether it has changes; None outside a checkout."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():  # installed, perhaps inside somebody else's checkout
        return None, None
    commit = _run_git(here, "rev-parse", "HEAD")
    changes = _run_git(here, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git wherever it is
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
