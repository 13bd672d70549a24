"""Writes the peaks of torch's CUDA allocator under other options than the papers', for `test_options.py`.

    tests/oracle/hollow/run.sh DIR tests/oracle/record_options.py tests/bench/simulator/option_peaks.csv

Every case runs in a process of its own, as cuDNN's choices with `cudnn.benchmark` last as long as a process.
"""

import csv
import sys
from pathlib import Path
from typing import Any

from bench.cases import make_case
from bench.isolate import run_isolated

INFOPRO = {"method": "infopro[contrast]", "module_count": 4}
OPTIONS: tuple[dict[str, Any], ...] = (
    {"precision": "bfloat16"},
    {"precision": "float16"},
    {"tf32": False},
    {"memory_format": "channels_last"},
    {"memory_format": "channels_last", "precision": "bfloat16"},
    {"memory_format": "channels_last", "precision": "float16"},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
    {"cudnn_benchmark": True},
    {**INFOPRO, "precision": "bfloat16"},
    {**INFOPRO, "precision": "float16", "optimizer": "adamw"},
    {**INFOPRO, "memory_format": "channels_last"},
    {**INFOPRO, "tf32": False},
    {**INFOPRO, "network": "resnet110", "batch_size": 1024, "cudnn_benchmark": True},
    {"method": "contsup[R1E]", "module_count": 4, "precision": "float16", "memory_format": "channels_last"},
    {"method": "dgl[step=per_module]", "module_count": 4, "precision": "float16"},
    {"method": "checkpoint", "precision": "bfloat16"},
    {"method": "backlink", "module_count": 8, "precision": "float16"},
    {"method": "mlaan", "module_count": 4, "precision": "bfloat16"},
    {"method": "infopro[softmax]", "module_count": 16, "network": "resnet110", "precision": "float16"},
)
COMMON = {"method": "e2e", "network": "resnet32", "module_count": 1, "batch_size": 256}
COLUMNS = (*COMMON, "precision", "tf32", "memory_format", "cudnn_benchmark", "optimizer")
STEPS = ("first", "steady")
KINDS = ("requested", "allocated", "reserved")


def read_row(options: dict[str, Any]) -> list[Any]:
    """The case, then the peaks of its first and its third step."""
    case = make_case(**COMMON | options)
    outcome = run_isolated("bench.worker:measure_case_peaks", case, time_limit=600)
    if outcome.status != "ok":
        raise RuntimeError(f"{case.label}: {outcome.message}")
    peaks = [outcome.result[step][kind] for step in STEPS for kind in KINDS]
    return [*(getattr(case, name) for name in COLUMNS), *peaks]


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"{step}_{kind}_bytes" for step in STEPS for kind in KINDS)])
        for one in OPTIONS:
            writer.writerow(read_row(one))
