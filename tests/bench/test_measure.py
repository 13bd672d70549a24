"""A case measured for real on the CPU; what a GPU adds is in `test_measure_gpu.py`."""

from dataclasses import replace

import pytest
import torch

from bench.cases import make_case
from bench.measure import measure
from bench.passes import inference, shared
from bench.passes.memory import measure_resident
from bench.passes.shared import Pass, Phases
from bench.probes.cpu_load import BUSY
from bench.probes.limits import Limits
from bench.probes.nvml import Gpu
from bench.probes.timing import time_pairs
from bench.probes.validity import InvalidTrainingError
from bench.training import Training
from methods.engine import StepResult, TrainingNetwork

LIMITS = Limits(minimum_pairs=2, maximum_pairs=2, minimum_seconds=0, maximum_seconds=0)


def case_of(method="dgl", module_count=2, **options):
    return make_case(
        method=method, network="cifar_resnet8@8", module_count=module_count, **{"batch_size": 4, **options}
    )


@pytest.fixture(scope="module")
def measured():
    phases = []
    return measure(case_of(), "cpu", LIMITS, None, phases.append), phases


def test_passes_come_one_after_the_other(measured):
    readings, phases = measured
    assert phases == ["memory", "build", "warm-up", "training step", "inference"]
    assert [phase.name for phase in readings.phases] == ["start", *phases]
    assert all(phase.seconds >= 0 for phase in readings.phases)


def test_every_sample_is_kept_and_paired(measured):
    readings, _ = measured
    for name in ("step", "inference"):
        assert len(getattr(readings, f"{name}_seconds")) == len(getattr(readings, f"reference_{name}_seconds")) == 2
    assert len(readings.latency_seconds) == len(readings.reference_latency_seconds) == 2
    assert [block.side for block in readings.blocks] == ["method", "e2e", "e2e", "method"]
    assert readings.steps_counted == 3 + readings.warm_up_step_count + 2
    assert readings.first_step_seconds > 0


def test_a_cpu_has_a_resident_set_and_nothing_of_a_gpu(measured):
    readings, _ = measured
    assert 0 < readings.resident_before_bytes <= readings.peak_resident_bytes
    assert readings.peak_allocated_bytes is readings.step_host_seconds is readings.step_energy_joules is None
    assert readings.peak_holders is readings.device_uuid is readings.context_bytes is None
    assert set(readings.flags) - {"busy CPU"} == {"unsettled"}
    assert 0 <= readings.foreign_cpu_share <= 1
    assert ("busy CPU" in readings.flags) is (readings.foreign_cpu_share > BUSY)


def test_the_resident_set_grows_with_the_batch():
    small, large = (
        measure_resident(_pass(case_of("e2e", 1, batch_size=size)))["peak_resident_bytes"] for size in (4, 2048)
    )
    # A batch of images of 8 pixels square keeps some 2 MiB a hundred images.
    assert large - small > 16 * 2**20


def _pass(case):
    return Pass(case, torch.device("cpu"), LIMITS, Phases(lambda _: None), None, {})


def test_what_makes_inference_suspicious_is_flagged_too(monkeypatch):
    monkeypatch.setattr(inference, "time_pairs", lambda *args: replace(time_pairs(*args), flags=("throttled",)))
    one = _pass(case_of())
    inference.time_inference(one)
    assert list(one.flags) == ["throttled"]


@pytest.mark.parametrize(("found", "used"), [("GPU-1", 5), ("GPU-2", None), (None, None)])
def test_what_was_in_use_counts_only_if_it_was_seen_on_the_same_card(found, used, monkeypatch):
    seen = iter(
        [
            Gpu(library=None, handle=1, uuid="GPU-1", earlier_used_bytes=5),
            Gpu(library=None, handle=2, uuid=found, earlier_used_bytes=9),
        ]
    )
    monkeypatch.setattr(shared, "open_gpu", lambda *_: next(seen))
    monkeypatch.setattr(shared, "read_uuid", lambda _: "1")
    assert shared.open_device(torch.device("cpu")).earlier_used_bytes == used


def test_a_method_that_trains_nothing_fails(monkeypatch):
    def nothing(self, images, labels, after_module=None):
        return StepResult((torch.rand(()),))

    monkeypatch.setattr(TrainingNetwork, "training_step", nothing)
    phases = []
    with pytest.raises(InvalidTrainingError, match="no parameter changed"):
        measure(case_of(), "cpu", LIMITS, None, phases.append)
    assert phases == ["memory"]


def test_a_method_is_timed_alone_where_end_to_end_backprop_does_not_fit(monkeypatch):
    step = Training.step

    def too_much(self):
        if self.case.method == "e2e":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate")
        return step(self)

    monkeypatch.setattr(Training, "step", too_much)
    readings = measure(case_of(), "cpu", LIMITS, None, lambda _: None)
    assert "E2E does not fit" in readings.flags
    assert (len(readings.step_seconds), readings.reference_step_seconds) == (4, None)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's compiler looks at and hides from users
def test_units_are_compiled_where_the_case_says_so(monkeypatch):
    """With a backend that hands the graph back: what it is given shows that graphs are made, unit by unit."""
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode=None: compile_module(self, backend=keep))
    case = replace(case_of("e2e", 1), compile="default")
    one = _pass(case)
    readings = measure_resident(one)
    assert [phase.name for phase in one.phases.finish()] == ["start", "memory", "compile"]
    assert len(graphs) >= 4
    assert readings["steps_counted"] == 3
