"""Call by call: the plans of `operators` beside what torch's CUDA dispatch allocated.

`operator_events.json` is written by `tests/oracle/record_operators.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_iter

from bench.simulator.operators import LAYOUTS, RULES, Born, Device, Dies, Output, lay_out, plan_call
from tests.oracle.record_operators import read_call, strides_of

RECORDS = json.loads((Path(__file__).parent / "operator_events.json").read_text())


def plan_events(text: str, device: Device) -> Iterator[tuple[str, int]]:
    """What the simulator would emit for a call: words for the item and signed bytes."""
    operator, args, kwargs = read_call(text, "meta")
    result = operator(*args, **kwargs)
    outputs = [tensor for tensor in tree_iter(result) if isinstance(tensor, torch.Tensor)]
    plan = plan_call(operator, args, kwargs, device)
    if plan is None:
        plan = [Output(index) for index in range(len(outputs))]
    given = (tensor for tensor in tree_iter((args, kwargs)) if isinstance(tensor, torch.Tensor))
    known = {tensor.untyped_storage()._cdata for tensor in given}
    temporaries: list[int] = []
    for item in plan:
        if isinstance(item, Born):
            temporaries.append(item.bytes)
            yield f"temporary {len(temporaries) - 1} is born", item.bytes
        elif isinstance(item, Dies):
            yield f"temporary {item.index} dies", -temporaries[item.index]
        else:
            storage = outputs[item.index].untyped_storage()
            size = storage.nbytes() if item.bytes is None else item.bytes
            if storage._cdata not in known and size:
                known.add(storage._cdata)
                yield f"output {item.index} is born", size


def cases(part: str) -> list[object]:
    """Parameters (call, device, what was recorded of it)."""
    found = []
    for record in RECORDS:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record["device"].items()
        }
        device = Device(**fields)
        name = "sm{}{}".format(*device.capability)
        for call, recorded in record[part].items():
            found.append(pytest.param(call, device, recorded, id=f"{name} {call.removeprefix('aten.')}"))
    return found


@pytest.mark.parametrize(("call", "device", "events"), cases("events"))
def test_a_call_allocates_what_cuda_does(call, device, events):
    planned = list(plan_events(call, device))
    for number, ((words, size), expected) in enumerate(zip(planned, events, strict=False)):
        assert size == expected, f"event {number} of {len(events)}: {words}; recorded {events}"
    assert [size for _, size in planned] == events


@pytest.mark.parametrize(("call", "device", "strides"), cases("strides"))
def test_a_call_is_laid_out_as_on_cuda(call, device, strides):
    operator, args, kwargs = read_call(call, "meta")
    assert strides_of(lay_out(operator, args, operator(*args, **kwargs))) == strides


def test_every_rule_is_held_against_a_recorded_call():
    recorded = {read_call(call, "meta")[0] for one in RECORDS for call in one["events"]}
    assert set(RULES) <= recorded


def test_every_layout_is_held_against_a_recorded_call():
    recorded = {read_call(call, "meta")[0] for one in RECORDS for call in one["strides"]}
    assert set(LAYOUTS) <= recorded
