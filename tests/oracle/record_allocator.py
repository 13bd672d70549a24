"""Records what torch's CUDA caching allocator does with random requests, for `test_allocator.py`.

    python tests/oracle/record_allocator.py tests/bench/simulator/allocator_streams.json.gz

The device may be real, or a stand-in for the CUDA runtime whose kernels do nothing. Each stream runs in a process of
its own, because the allocator reads its settings once. The memory that the device reports is stored with the stream: a
small device can only be had from the stand-in, which reads its size from `HOLLOW_TOTAL`; a real one keeps its own.
Streams of the same torch version and device are replaced, others in the file are kept.
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
OPERATION_COUNT = 450
EDGES = (1, 512, 513, *(MIB * size + more for size in (1, 2, 10, 19, 20, 64, 128) for more in (-512, 0, 1)))
"""Sizes at which a rule begins to hold."""
RANGES = ((1, 2000), (2000, MIB), (MIB, 10 * MIB), (10 * MIB, 80 * MIB), (80 * MIB, 300 * MIB))
WEIGHTS = (25, 20, 25, 24, 6)
FIGURES = {
    "requested": "requested_bytes.all.current",
    "allocated": "allocated_bytes.all.current",
    "reserved": "reserved_bytes.all.current",
    "retries": "num_alloc_retries",
}
"""Column of a stream -> its figure among torch's."""

# Seed, settings, limit of the process in MiB, memory of the device in MiB; None: no limit, or what the device has.
# Seeds are such that which of two equal blocks is taken decides (not with expandable segments, where it never did), and
# that a segment of expandable_segments is given up and another one used (7559).
STREAMS: tuple[tuple[int, str, int | None, int | None], ...] = (
    (7076, "", None, None),
    (7132, "", None, 650),
    (7128, "", 500, None),
    (7030, "", 800, None),
    (7060, "max_split_size_mb:20", None, None),
    (7145, "max_split_size_mb:20", 650, None),
    (7084, "max_split_size_mb:64", None, 650),
    (7063, "max_split_size_mb:64,max_non_split_rounding_mb:64", 550, None),
    (7166, "max_split_size_mb:128", 500, None),
    (7005, "roundup_power2_divisions:4", None, None),
    (7008, "roundup_power2_divisions:8", 650, None),
    (7016, "roundup_power2_divisions:2,max_split_size_mb:64", 650, None),
    (7074, "garbage_collection_threshold:0.6", 800, None),
    (7185, "garbage_collection_threshold:0.8", 650, None),
    (7059, "garbage_collection_threshold:0.4,max_split_size_mb:64", 800, None),
    (7021, "garbage_collection_threshold:0.7,roundup_power2_divisions:8", 650, None),
    (7017, "expandable_segments:True", None, None),
    (7018, "expandable_segments:True", 650, None),
    (7019, "expandable_segments:True", None, 600),
    (7559, "expandable_segments:True", None, 500),
    (7021, "expandable_segments:True,max_split_size_mb:20", None, None),
    (7022, "expandable_segments:True,max_split_size_mb:64", None, 700),
    (7023, "expandable_segments:True,max_split_size_mb:128", 550, None),
    (7024, "expandable_segments:True,roundup_power2_divisions:4", None, 650),
    (7025, "expandable_segments:True,garbage_collection_threshold:0.5", 650, None),
    (7026, "expandable_segments:True,max_split_size_mb:64,roundup_power2_divisions:8", 600, 700),
    (7003, "max_split_size_mb:20,roundup_power2_divisions:4,garbage_collection_threshold:0.5", 550, None),
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
    """How the figures of the device's allocator change with each operation, and the operations that found no memory."""
    import torch  # noqa: PLC0415 - the parent process needs none

    held: dict[int, Any] = {}
    requests = 0
    columns: dict[str, list[int]] = {name: [] for name in (*FIGURES, "failed")}
    before = dict.fromkeys(FIGURES, 0)
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
        stats = torch.cuda.memory_stats()
        for name, figure in FIGURES.items():
            columns[name].append(stats[figure] - before[name])
            before[name] = stats[figure]
    return columns


def limit_process(limit_bytes: int) -> int:
    """Limit the allocator; returns the bytes that it takes this for."""
    import torch  # noqa: PLC0415

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit_bytes / total)
    return int(limit_bytes / total * total)


def record_stream(seed: int, settings: str, limit_mib: int | None) -> dict[str, Any]:
    """One stream, in a process that was started with these settings."""
    import torch  # noqa: PLC0415

    torch.cuda.init()
    operations = random_operations(seed, OPERATION_COUNT)
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(0),
        "device_bytes": torch.cuda.get_device_properties(0).total_memory,
        "limit_bytes": None if limit_mib is None else limit_process(limit_mib * MIB),
        "settings": settings,
        "operations": operations,
        **serve(operations),
    }


def record_in_process(seed: int, settings: str, limit_mib: int | None, device_mib: int | None) -> dict[str, Any]:
    """Start a process with these settings and read the stream that it records."""
    environment = {**os.environ, "PYTORCH_ALLOC_CONF": settings}
    if device_mib is not None:
        environment["HOLLOW_TOTAL"] = str(device_mib * MIB)
    command = [sys.executable, __file__, "--stream", json.dumps([seed, settings, limit_mib])]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def write_streams(path: Path, recorded: list[dict[str, Any]]) -> None:
    """Replace the streams of this torch and device in a file."""
    kept = json.loads(gzip.decompress(path.read_bytes())) if path.exists() else []
    now = {(stream["torch"], stream["device"]) for stream in recorded}
    streams = [*(stream for stream in kept if (stream["torch"], stream["device"]) not in now), *recorded]
    path.write_bytes(gzip.compress(json.dumps(streams, separators=(",", ":")).encode(), 9, mtime=0))


if __name__ == "__main__":
    if sys.argv[1] == "--stream":
        json.dump(record_stream(*json.loads(sys.argv[2])), sys.stdout)
    else:
        write_streams(Path(sys.argv[1]), [record_in_process(*stream) for stream in STREAMS])
