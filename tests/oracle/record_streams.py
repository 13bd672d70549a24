"""Writes the allocator's events of the third step of every case in `cases`, for `test_streams.py`, one file per torch.

tests/oracle/hollow/run.sh DIR tests/oracle/record_streams.py tests/bench/simulator
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch

from bench.simulator.model import running_version
from tests.oracle.cases import CASES
from tests.oracle.compare import in_processes, record


def record_case(name: str) -> dict[str, Any]:
    """Events as signed bytes (births positive, deaths negative) and the peaks; what this torch says where it cannot."""
    try:
        recording = record(CASES[name])
    except RuntimeError as error:
        return {"error": str(error)}
    return {"events": recording.events, "peaks": recording.peaks}


if __name__ == "__main__":
    streams = dict(in_processes(record_case, list(CASES)))
    path = Path(sys.argv[1]) / "event_streams_{}.{}.json.gz".format(*running_version())
    text = json.dumps({"torch": torch.__version__, "streams": streams}, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
