"""Where tests on a CUDA device leave what it said; read by every machine's tests and by `docs/measured.py`."""

import os
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(os.environ.get("PEAKBENCH_REFERENCE") or Path(__file__).parents[2] / "results" / "reference")
"""`PEAKBENCH_REFERENCE` names another one."""


def name_file(device: str, torch_version: str, ending: str) -> Path:
    """A new file, named by device, torch and day: `nvidia-h200-torch2.11-2026-11-21.json`."""
    major, minor, *_ = torch_version.split(".")
    day = datetime.now(UTC).date().isoformat()
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / f"{'-'.join(device.lower().split())}-torch{major}.{minor}-{day}{ending}"
