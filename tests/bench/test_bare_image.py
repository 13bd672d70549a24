"""What a GPU's image may lack: whatever records readings there is imported without it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = ("jinja2", "matplotlib", "psutil", "pynvml", "scipy", "typer")
RECORDERS = ("tests.bench.test_ground_truth", "tests.bench.test_measure_gpu", "tests.oracle.record_device")


@pytest.mark.parametrize("module", RECORDERS)
def test_what_records_readings_needs_torch_and_little_else(module):
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in MISSING), f"import {module}"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
