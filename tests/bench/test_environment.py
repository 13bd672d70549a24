"""The fingerprint: what is told on this machine, with a GPU that answers, and inside containers."""

import re
from dataclasses import fields

import pytest
import torch

from bench import environment as environment_module
from bench.container import find_container, read_limits
from bench.environment import read_environment
from tests.bench.probes.test_nvml import gpu


def test_a_cpu_has_everything_but_a_gpu(monkeypatch):
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    found = read_environment(torch.device("cpu"))
    missing = {field.name for field in fields(found) if getattr(found, field.name) is None}
    assert missing <= {
        "cudnn_version", "driver_version", "default_clock_hertz", "set_clock_hertz", "persistence_mode", "mig_mode",
        "cuda_version", "git_commit", "git_dirty", "torchvision_version", "command", "cpu_governor", "cpu_limit",
        "memory_limit_bytes",
    }  # fmt: skip
    assert found.allocator_settings == "max_split_size_mb:64"
    assert re.fullmatch("[a-z0-9_-]+", found.container)


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_settings_of_the_shell_are_told_by_either_name(monkeypatch, name):
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setenv(name, " expandable_segments:True")
    assert read_environment("H200").allocator_settings == "expandable_segments:True"


def test_a_gpu_tells_its_clocks_and_modes(monkeypatch):
    monkeypatch.setattr(environment_module, "open_gpu", lambda uuid: gpu())
    told = environment_module.read_gpu()
    assert told == {
        "driver_version": "580.65.06",
        "default_clock_hertz": 1_980_000_000,
        "set_clock_hertz": 1_200_000_000,
        "persistence_mode": True,
        "mig_mode": False,
    }


@pytest.mark.parametrize(
    ("file", "text", "variables", "name"),
    [
        (".dockerenv", "", {}, "docker"),
        ("run/.containerenv", "", {}, "podman"),
        ("proc/1/cgroup", "0::/kubepods/burstable/pod1/abc", {}, "kubernetes"),
        ("proc/1/cgroup", "12:cpu:/lxc/box", {}, "lxc"),
        (".dockerenv", "", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ("etc/passwd", "", {"container": "systemd-nspawn"}, "systemd-nspawn"),
        ("proc/1/cgroup", "0::/init.scope", {}, "none"),
    ],
)
def test_containers_are_known_by_the_signs_they_leave(tmp_path, file, text, variables, name):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert find_container(tmp_path, variables) == name


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, (None, None)),
        ({"proc/self/cgroup": "0::/\n"}, (None, None)),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "1024\n"}, (1.5, 1024)),
        (
            {
                "proc/self/cgroup": "1:name=systemd:/\n0::/kubepods/pod\n",
                "sys/fs/cgroup/kubepods/pod/cpu.max": "max 100000\n",
                "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/kubepods/pod/memory.max": "4096\n",
                "sys/fs/cgroup/kubepods/memory.max": "2048\n",
            },
            (4.0, 2048),
        ),
    ],
)
def test_limits_are_the_least_of_all_control_groups_above(files, limits, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_limits(tmp_path) == limits
