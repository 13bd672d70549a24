"""Records what torch's CUDA caching allocator does with random requests, for `test_allocator.py`.

    python tests/oracle/record_allocator.py tests/bench/simulator/allocator_streams.json.gz

The device may be real, or a stand-in for the CUDA runtime whose kernels do nothing. Each stream runs in a process of its
own, because the allocator reads its settings once. The memory that the device reports is stored with the stream; a small
device can only be had from the stand-in, which reads its size from `HOLLOW_TOTAL`, and a real one keeps its own.
"""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

MIB = 2**20
OPERATION_COUNT = 400
EDGES = (1, 512, 513, MIB - 512, MIB, MIB + 1, 2 * MIB, 10 * MIB - 512, 10 * MIB, 19 * MIB, 20 * MIB, 64 * MIB, 128 * MIB)
"""Sizes at which a rule begins to hold."""
RANGES = ((1, 2000), (2000, MIB), (MIB, 10 * MIB), (10 * MIB, 80 * MIB), (80 * MIB, 300 * MIB))
WEIGHTS = (25, 20, 25, 24, 6)

# Settings, limit of the process in MiB, memory of the device in MiB; None: no limit, and whatever the device has.
STREAMS: tuple[tuple[str, int | None, int | None], ...] = (
    ("", None, None),
    ("", None, None),
    ("", None, 1200),
    ("", 900, None),
    ("", 1500, None),
    ("max_split_size_mb:20", None, None),
    ("max_split_size_mb:20", 1200, None),
    ("max_split_size_mb:64", None, 1200),
    ("max_split_size_mb:64,max_non_split_rounding_mb:64", 1000, None),
    ("max_split_size_mb:128", 900, None),
    ("roundup_power2_divisions:4", None, None),
    ("roundup_power2_divisions:8", 1200, None),
    ("roundup_power2_divisions:2,max_split_size_mb:64", 1200, None),
    ("garbage_collection_threshold:0.6", 1500, None),
    ("garbage_collection_threshold:0.8", 1200, None),
    ("garbage_collection_threshold:0.4,max_split_size_mb:64", 1500, None),
    ("garbage_collection_threshold:0.7,roundup_power2_divisions:8", 1200, None),
    ("expandable_segments:True", None, None),
    ("expandable_segments:True", 1200, None),
    ("expandable_segments:True", None, 900),
    ("expandable_segments:True", None, 1200),
    ("expandable_segments:True,max_split_size_mb:20", None, None),
    ("expandable_segments:True,max_split_size_mb:64", None, 1000),
    ("expandable_segments:True,max_split_size_mb:128", 1000, None),
    ("expandable_segments:True,roundup_power2_divisions:4", None, 1200),
    ("expandable_segments:True,garbage_collection_threshold:0.5", 1200, None),
    ("expandable_segments:True,max_split_size_mb:64,roundup_power2_divisions:8", 1200, 1500),
    ("max_split_size_mb:20,roundup_power2_divisions:4,garbage_collection_threshold:0.5", 1000, None),
)


def random_operations(seed: int, count: int) -> list[int]:
    """A stream of requests: n > 0 asks for n bytes, n < 0 frees request number -n (from 1), 0 empties the cache.

    What is held grows and shrinks in waves; many sizes come again, so that blocks tie.
    """
    source = random.Random(seed)
    usual = [_random_size(source) for _ in range(10)]
    repeating = source.choice((0.0, 0.5, 0.9))
    most_bytes = source.choice((600, 1200, 2000)) * MIB
    growing, live, requests = True, {}, 0
    operations: list[int] = []
    while len(operations) < count:
        if source.random() < 0.03:
            growing = not growing
        if source.random() < 0.006:
            operations.append(0)
        elif not live or (source.random() < (0.7 if growing else 0.25) and sum(live.values()) < most_bytes):
            requests += 1
            live[requests] = source.choice(usual) if source.random() < repeating else _random_size(source)
            operations.append(live[requests])
        else:
            name = source.choice((min(live), max(live), *source.sample(sorted(live), min(2, len(live)))))
            del live[name]
            operations.append(-name)
    return operations


def _random_size(source: random.Random) -> int:
    if source.random() < 0.15:
        return source.choice(EDGES)
    return source.randint(*source.choices(RANGES, WEIGHTS)[0])


def serve(operations: list[int]) -> dict[str, list[int]]:
    """What the allocator of the device reports after each operation, and the operations that found no memory."""
    import torch  # noqa: PLC0415 - the parent process needs none

    held: dict[int, Any] = {}
    requests = 0
    columns: dict[str, list[int]] = {name: [] for name in ("requested", "allocated", "reserved", "retries", "failed")}
    for index, operation in enumerate(operations):
        if operation > 0:
            requests += 1
            try:
                held[requests] = torch.empty(operation, dtype=torch.uint8, device="cuda")
            except torch.OutOfMemoryError:
                columns["failed"].append(index)
        elif operation < 0:
            held.pop(-operation, None)
        else:
            torch.cuda.empty_cache()
        stats = torch.cuda.memory_stats_as_nested_dict()
        for name in ("requested", "allocated", "reserved"):
            columns[name].append(stats[f"{name}_bytes"]["all"]["current"])
        columns["retries"].append(stats["num_alloc_retries"])
    return columns


def limit_process(limit_bytes: int) -> int:
    """Limit the allocator; returns the bytes that it takes this for."""
    import torch  # noqa: PLC0415

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit_bytes / total)
    return int(limit_bytes / total * total)


def record_stream(settings: str, seed: int, limit_mib: int | None) -> dict[str, Any]:
    """One stream, in a process that was started with these settings."""
    import torch  # noqa: PLC0415

    torch.cuda.init()
    operations = random_operations(seed, OPERATION_COUNT)
    return {
        "settings": settings,
        "device_bytes": torch.cuda.get_device_properties(0).total_memory,
        "limit_bytes": None if limit_mib is None else limit_process(limit_mib * MIB),
        "device": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "operations": operations,
        **serve(operations),
    }


def record_in_process(seed: int, settings: str, limit_mib: int | None, device_mib: int | None) -> dict[str, Any]:
    """Start a process with these settings and read the stream that it records."""
    environment = {**os.environ, "PYTORCH_ALLOC_CONF": settings}
    if device_mib is not None:
        environment["HOLLOW_TOTAL"] = str(device_mib * MIB)
    command = [sys.executable, __file__, "--stream", json.dumps([settings, seed, limit_mib])]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


if __name__ == "__main__":
    if sys.argv[1] == "--stream":
        json.dump(record_stream(*json.loads(sys.argv[2])), sys.stdout)
    else:
        streams = [record_in_process(7001 + index, *stream) for index, stream in enumerate(STREAMS)]
        text = json.dumps(streams, separators=(",", ":"))
        Path(sys.argv[1]).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
