"""The stream on the meta device equals the one of fake CPU tensors: neither has data, and the tracker is the same.

Only where CPU and CUDA take the same way: no dropout, no attention, a default that is not foreach.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.simulator import simulate_step
from bench.simulator.simulate import STEPS
from bench.simulator.tracker import StorageTracker
from tests.bench.simulator.recorded import recorded_on
from tests.oracle.cases import CASES


@pytest.mark.parametrize("name", ["resnet18 batch 8", "densenet121 batch 4", "SGD one by one", "U-Net", "conv1d"])
def test_fake_tensors_have_the_same_stream(name):
    tracker = StorageTracker(recorded_on().device, follow="cpu")
    with FakeTensorMode(), tracker, torch.device("cpu"):
        step, *_used = CASES[name]()
        for _ in range(STEPS):
            tracker.start_step()
            step()
        tracker.end_steps()
    ours = simulate_step(CASES[name], recorded_on()).stream

    def events(stream):
        step = [stream.events[index] for index in stream.step_events(STEPS - 1)]
        return [(event.action, event.bytes, event.operator) for event in step]

    assert events(tracker.stream) == events(ours)
