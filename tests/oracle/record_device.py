"""Records what a CUDA device does with memory in plain training steps, without any code of the project.

    python3 -m tests.oracle.record_device OUT_DIR [--quick] [--seconds 480]     needs torch and torchvision

Writes OUT_DIR/device.json (device, versions, context), peaks.json (requested, allocated, active and reserved peaks of
the cold, the second and the steady step, and step seconds, per case), workspaces.json (transient bytes of single
convolutions) and events.json.gz (the allocator's events of one later step of a few cases: [action, bytes] in order). A
case that would begin after the seconds is left out. `records.py` reads them.
"""

import argparse
import gc
import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

from tests.oracle.plain import CASES, FEW, PlainCase, name_key

KINDS = ("requested", "allocated", "active", "reserved")
TIMED_STEPS = 10
MOST_EVENTS = 200_000
SHAPES = (
    (1024, 3, 32, 16, 3, 1), (1024, 16, 32, 16, 3, 1), (1024, 16, 32, 32, 3, 2), (1024, 16, 32, 32, 1, 2),
    (1024, 32, 16, 32, 3, 1), (1024, 32, 16, 64, 3, 2), (1024, 32, 16, 64, 1, 2), (1024, 64, 8, 64, 3, 1),
    (1024, 3, 32, 12, 3, 1), (1024, 12, 32, 3, 3, 1), (1024, 16, 32, 12, 3, 1), (1024, 32, 32, 12, 3, 1),
    (1024, 64, 32, 12, 3, 1), (1024, 12, 32, 16, 3, 1), (1024, 12, 32, 32, 3, 1), (1024, 12, 32, 64, 3, 1),
    (1024, 16, 32, 16, 1, 1), (64, 3, 224, 64, 7, 2), (64, 64, 56, 64, 1, 1), (64, 64, 56, 64, 3, 1),
    (64, 64, 56, 256, 1, 1), (64, 256, 56, 128, 1, 1), (64, 128, 56, 128, 3, 2), (64, 256, 28, 256, 3, 2),
    (64, 512, 7, 512, 3, 1),
)  # fmt: skip
"""Of convolutions: batch, channels in, size, channels out, kernel, stride."""


def describe_device() -> dict[str, Any]:
    """The device, versions, and what NVML says of it where there is NVML."""
    own = torch.cuda.get_device_properties(0)
    found: dict[str, Any] = {
        "name": own.name,
        "total_memory": own.total_memory,
        "capability": [own.major, own.minor],
        "multiprocessors": own.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "torchvision": torchvision.__version__,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        found["cudnn"] = torch.backends.cudnn.version()
    except RuntimeError as error:
        found["cudnn"] = repr(error)
    try:
        import pynvml  # noqa: PLC0415 - where there is one

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        found["driver"] = str(pynvml.nvmlSystemGetDriverVersion())
        found["device_used_with_context"] = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        found["reserved_with_context"] = torch.cuda.memory_reserved()
    except Exception as error:  # noqa: BLE001 - a missing or partial NVML is a reading too
        found["nvml"] = repr(error)
    return found


def measure(case: PlainCase) -> tuple[dict[str, Any], list[list[Any]] | None]:
    """Peaks and times of a case, and the events of a step where it is traced."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with torch.device("cuda"):
        step, *_used = case.build()
    reading: dict[str, Any] = {"before": torch.cuda.memory_allocated()}
    for name in ("cold", "second", "steady"):
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        reading[name] = _read_peaks()
    seconds = []
    for _ in range(TIMED_STEPS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    reading["step_seconds"] = seconds
    reading["finite"] = bool(torch.isfinite(step()))
    return reading, trace(step) if case.traced else None


def _read_peaks() -> dict[str, int]:
    stats: Any = torch.cuda.memory_stats()
    peaks = {kind: stats[f"{kind}_bytes.all.peak"] for kind in KINDS}
    return peaks | {"retries": stats["num_alloc_retries"], "allocated_now": stats["allocated_bytes.all.current"]}


def trace(step: Callable[[], object]) -> list[list[Any]]:
    """The allocator's events of one step, oldest first."""
    torch.cuda.memory._record_memory_history(max_entries=MOST_EVENTS, stacks="python", context=None)
    step()
    torch.cuda.synchronize()
    snapshot: Any = torch.cuda.memory._snapshot()
    torch.cuda.memory._record_memory_history(enabled=None)
    return [[event["action"], event["size"]] for event in snapshot["device_traces"][0]]


def measure_convolutions(dtype: torch.dtype, *, tf32: bool) -> list[dict[str, Any]]:
    """Transient bytes above inputs and outputs, forward and for each gradient."""
    torch.backends.cudnn.allow_tf32 = tf32
    return [
        {"dtype": str(dtype), "tf32": tf32, "shape": list(shape), **_measure_convolution(shape, dtype)}
        for shape in SHAPES
    ]


def _measure_convolution(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, int]:
    batch, inputs, size, outputs, kernel, stride = shape
    x = torch.randn(batch, inputs, size, size, device="cuda", dtype=dtype)
    w = torch.randn(outputs, inputs, kernel, kernel, device="cuda", dtype=dtype)
    options = ([stride, stride], [kernel // 2, kernel // 2], [1, 1], False, [0, 0], 1)
    y = torch.ops.aten.convolution(x, w, None, *options)
    backward = torch.ops.aten.convolution_backward
    calls: dict[str, Callable[[], Any]] = {
        "forward": lambda: torch.ops.aten.convolution(x, w, None, *options),
        "input_gradient": lambda: backward(y, x, w, None, *options, [True, False, False]),
        "weight_gradient": lambda: backward(y, x, w, None, *options, [False, True, False]),
    }
    return {name: _measure_transient(call) for name, call in calls.items()}


def _measure_transient(call: Callable[[], Any]) -> int:
    call()  # what lasts is made with the first call
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    result = call()
    torch.cuda.synchronize()
    stats: Any = torch.cuda.memory_stats()
    del result
    return stats["requested_bytes.all.peak"] - max(before, stats["requested_bytes.all.current"])


def main() -> None:
    """Record everything into a folder; files are written as soon as there is something to write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few cases")
    parser.add_argument("--seconds", type=float, default=480.0, help="after which no case is begun")
    asked = parser.parse_args()
    out, end = asked.out, time.monotonic() + asked.seconds
    out.mkdir(parents=True, exist_ok=True)

    def save(name: str, value: Any) -> None:
        (out / name).write_text(json.dumps(value, indent=1) + "\n")

    torch.zeros(1, device="cuda")
    save("device.json", describe_device())
    formats = ((torch.float32, True), (torch.float32, False), (torch.bfloat16, True))
    save("workspaces.json", [row for dtype, tf32 in formats for row in measure_convolutions(dtype, tf32=tf32)])
    results: dict[str, Any] = {}
    events: dict[str, Any] = {}
    for tf32 in (True, False):
        torch.backends.cudnn.allow_tf32 = tf32
        for name, case in (FEW if asked.quick or not tf32 else CASES).items():
            if time.monotonic() > end:
                continue
            key = name_key(name, case.batch, tf32=tf32)
            try:
                results[key], events[key] = measure(case)
            except torch.cuda.OutOfMemoryError as error:
                results[key] = {"out_of_memory": str(error)}
            steady = results[key].get("steady", {})
            print(key, {kind: f"{steady[kind] / 2**30:.4f} GiB" for kind in KINDS if kind in steady}, flush=True)
            save("peaks.json", results)
            text = json.dumps({key: value for key, value in events.items() if value})
            (out / "events.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
