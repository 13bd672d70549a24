"""Writes whether torch's CUDA allocator gets through three steps under limits, and after how many retries.

    tests/oracle/hollow/run.sh DIR tests/oracle/record_limits.py tests/bench/simulator/limit_outcomes.csv

The limits are the least one that the simulator finds, its neighbours in steps of 2 MiB, and some further away.
"""

import csv
import sys
from pathlib import Path

import torch

from bench.cases import make_case
from bench.isolate import Report, run_isolated
from bench.simulator.allocator import MIB, parse_settings
from bench.simulator.least_memory import find_least_memory
from bench.simulator.simulate import simulate_case
from bench.training import build_training
from results.record import Case

CASES = (
    ("e2e", "resnet32", 1, ""),
    ("infopro[contrast]", "resnet32", 4, ""),
    ("contsup[R1E]", "resnet32", 16, ""),
    ("checkpoint", "resnet110", 1, ""),
    ("dgl", "resnet32", 8, "expandable_segments:True"),
    ("infopro[softmax]", "resnet110", 16, "max_split_size_mb:20"),
)
STEPS_AWAY = (-40, -8, -3, -2, -1, 0, 1, 2, 5, 20)
"""Of 2 MiB."""
BATCH = 512
COLUMNS = ("method", "network", "modules", "batch", "allocator", "limit_bytes", "outcome", "retries")


def run_within(case: Case, allocator: str, limit: int, report: Report) -> int:
    """Number of retries of three steps within a limit; out of memory is the caller's to see."""
    report("three steps")
    if allocator:
        torch._C._accelerator_setAllocatorSettings(allocator)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((limit + MIB) / total)  # the allocator rounds down, and asks in 2 MiB
    training = build_training(case, torch.device("cuda", 0))
    for _ in range(3):
        training.step()
    return torch.cuda.memory_stats()["num_alloc_retries"]


def main(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for method, network, modules, allocator in CASES:
            case = make_case(method=method, network=network, module_count=modules, batch_size=BATCH)
            least = find_least_memory(simulate_case(case)[1].stream, parse_settings(allocator)) or 0
            for steps in STEPS_AWAY:
                limit = least + 2 * MIB * steps
                arguments = (case, allocator, limit)
                outcome = run_isolated("tests.oracle.record_limits:run_within", *arguments, time_limit=600)
                if outcome.status not in ("ok", "out_of_memory"):
                    raise RuntimeError(f"{case.label} within {limit}: {outcome.message}")
                writer.writerow((method, network, modules, BATCH, allocator, limit, outcome.status, outcome.result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
