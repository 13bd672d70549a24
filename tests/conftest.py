"""Settings of all tests, and the command line as a fixture."""

import gc
import sys
from typing import NamedTuple

import pytest
import torch

# Tiny networks gain nothing from threads, and lose much where tests share a machine.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a GPU say so instead of failing where there is none."""
    if torch.cuda.is_available():
        return
    without = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(without)


def pytest_collection_finish() -> None:
    """Torch and the tests stay: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries that count what they leak at the end want everything collected."""
    gc.unfreeze()


class Done(NamedTuple):
    """What a command left; named as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def peakbench(monkeypatch, capsys):
    """The command line, called in this process: torch is imported once."""
    from bench.__main__ import main  # noqa: PLC0415 - an image with a GPU may lack what commands need

    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["peakbench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        return Done(code, *capsys.readouterr())

    return call
