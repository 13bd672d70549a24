"""Writes the allocator's events of the third step of every case in `cases.py`, for `test_streams.py`.

tests/oracle/hollow/run.sh DIR tests/oracle/record_streams.py tests/bench/simulator/event_streams.json.gz
"""

import gc
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.oracle.cases import CASES, Build

ACTIONS = {"alloc": "alloc", "free_requested": "free"}


def record(build: Build) -> dict[str, Any]:
    """Events as signed bytes (births positive, deaths negative) and the peaks of the step."""
    with torch.device("cuda"):
        step, *used = build()
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.memory._record_memory_history(max_entries=10**6, context=None, stacks="python")
    step()
    torch.cuda.synchronize()
    trace = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    stats = torch.cuda.memory_stats()
    del step, used
    gc.collect()
    torch.cuda.empty_cache()
    events = [e["size"] if e["action"] == "alloc" else -e["size"] for e in trace if e["action"] in ACTIONS]
    peaks = {kind: stats[f"{kind}_bytes.all.peak"] for kind in ("requested", "allocated", "reserved")}
    return {"events": events, "peaks": peaks}


if __name__ == "__main__":
    recorded = {"torch": torch.__version__, "device": torch.cuda.get_device_name(), "streams": {}}
    for name, case in CASES.items():
        recorded["streams"][name] = record(case)
    with gzip.open(Path(sys.argv[1]), "wt") as file:
        json.dump(recorded, file)
