"""Records what single operators allocate on a CUDA device, as truth for `tests/bench/simulator/test_operators.py`.

    python tests/oracle/record_operators.py tests/bench/simulator/operator_events.json [new calls ...]

Calls the file already has are recorded on the device at hand, and so are new ones given as further arguments, such as
`'aten.sum.dim_IntList(float32(64, 10), [1])'`. A record of the same torch version and device is replaced, others stay.

The device may be real, or a stand-in for the CUDA runtime whose kernels do nothing: only the events of torch's caching
allocator count. Convolutions want the stand-in, as a real cuDNN adds workspaces that the rules leave out.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_iter

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]

SIGNS = {"alloc": 1, "free_requested": -1}
DTYPES = (
    torch.bool,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)


def read_call(text: str, device: str) -> Call:
    """Operator, arguments and keyword arguments of a call such as `aten.sum.dim_IntList(float32(64, 10), [1])`.

    Args:
        text: a Python expression. A tensor is written as its type and shape, with `stride=` where it is not contiguous.
        device: where its tensors live.
    """
    name, parenthesis, arguments = text.partition("(")
    operator: Any = torch.ops
    for part in name.split("."):
        operator = getattr(operator, part)
    names: dict[str, Any] = {str(dtype).removeprefix("torch."): partial(_make, dtype, device) for dtype in DTYPES}
    collect = "(lambda *args, **kwargs: (args, kwargs))"
    return operator, *eval(collect + parenthesis + arguments, {"torch": torch, **names})


def _make(dtype: torch.dtype, device: str, *shape: int, stride: tuple[int, ...] | None = None) -> torch.Tensor:
    if stride is None:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def record_call(text: str) -> tuple[list[int], list[int]]:
    """Allocator events of one call, and the strides of its first output.

    Events are bytes asked for, negative where they are given back; outputs stay alive.
    """
    operator, args, kwargs = read_call(text, "cuda")
    operator(*args, **kwargs)  # the first call of a process may also make what lasts, such as handles of libraries
    torch.cuda.memory._record_memory_history(context=None)
    result = operator(*args, **kwargs)
    snapshot: Any = torch.cuda.memory._snapshot()
    torch.cuda.memory._record_memory_history(enabled=None)
    trace = snapshot["device_traces"][0]
    events = [SIGNS[event["action"]] * event["size"] for event in trace if event["action"] in SIGNS]
    return events, strides_of(result)


def strides_of(result: Any) -> list[int]:
    """Strides of the first tensor of a result, in dimensions of more than one element, where they mean something."""
    tensor = next((item for item in tree_iter(result) if isinstance(item, torch.Tensor)), None)
    if tensor is None:
        return []
    return [stride for stride, extent in zip(tensor.stride(), tensor.shape, strict=True) if extent > 1]


def record(path: Path, new_calls: list[str]) -> None:
    """Bring a file up to date for the device at hand, and add calls to it."""
    properties = torch.cuda.get_device_properties()
    device = {
        "torch_version": [int(part) for part in torch.__version__.split(".")[:2]],
        "capability": [properties.major, properties.minor],
        "multiprocessors": properties.multi_processor_count,
        "threads_per_multiprocessor": properties.max_threads_per_multi_processor,
    }
    records = json.loads(path.read_text()) if path.exists() else []
    calls = dict.fromkeys([call for one in records for call in one["events"]] + new_calls)
    records = [one for one in records if one["device"] != device]
    events: dict[str, list[int]] = {}
    strides: dict[str, list[int]] = {}
    for call in calls:
        try:
            events[call], call_strides = record_call(call)
            if "stride=" in call and call_strides:
                strides[call] = call_strides
        except RuntimeError as error:  # not every device has every kernel
            print(f"{call} left out: {error}")
    records.append({"device": device, "events": events, "strides": strides})
    records.sort(key=lambda one: (one["device"]["torch_version"], one["device"]["capability"]))
    path.write_text(_one_call_per_line(records))


def _one_call_per_line(records: list[dict[str, Any]]) -> str:
    def table(values: dict[str, list[int]]) -> str:
        return (
            "{\n" + ",\n".join(f"  {json.dumps(call)}: {json.dumps(value)}" for call, value in values.items()) + "\n}"
        )

    blocks = [
        f'{{"device": {json.dumps(one["device"])},\n'
        f'"events": {table(one["events"])},\n"strides": {table(one["strides"])}}}'
        for one in records
    ]
    return "[" + ",\n".join(blocks) + "]\n"


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2:])
