"""What only a CUDA device can answer; `nox -s gpu` runs these, and keeps the readings (`reference.py`)."""

from datetime import UTC, datetime

import pytest
import torch

from bench.cases import make_case
from bench.isolate import run_isolated
from bench.passes.attribution import attribute
from bench.probes.limits import Limits
from bench.worker import simulate
from results.record import Measurement
from results.store import write_file
from tests.bench.reference import name_file

pytestmark = pytest.mark.gpu

CASES = [
    make_case(method=method, network="resnet32", module_count=module_count, batch_size=64, **options)
    for method, module_count, options in (
        ("e2e", 1, {}),
        ("checkpoint", 1, {}),
        ("infopro[contrast]", 4, {}),
        ("contsup[R1E]", 4, {"precision": "bfloat16"}),
        ("dgl[step=per_module]", 4, {}),
    )
]


@pytest.fixture(scope="module")
def keep():
    """Keeps readings as rows of a run."""
    environment = run_isolated("bench.worker:environment", "cuda", time_limit=120).result
    path = name_file(environment.device_name, environment.torch_version, ".parquet")
    rows = []

    def add(case, measure, outcome):
        rows.append(
            Measurement(
                case=case, provenance="measured", device="cuda", measure=measure, status="ok", readings=outcome.result,
                started_at=datetime.now(UTC).isoformat(timespec="seconds"), wall_seconds=outcome.seconds,
                environment=environment,
            )
        )  # fmt: skip
        write_file(path, rows)

    return add


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.label)
def measured(request, keep):
    limits = Limits(maximum_seconds=5.0)
    outcome = run_isolated("bench.worker:measure", request.param, "cuda", limits, None, time_limit=120)
    assert outcome.status == "ok", f"{outcome.phase}: {outcome.message}"
    keep(request.param, "step", outcome)
    return request.param, outcome.result


def test_holders_add_up_to_the_peak(measured):
    _, readings = measured
    assert sum(holder.bytes for holder in readings.peak_holders) == readings.peak_allocated_bytes
    assert not any("attribution" in flag for flag in readings.flags)


def test_what_modules_keep_is_what_the_simulator_says(measured):
    """Workspaces alone may differ: the simulator models none here, and a device borrows them as temporaries."""
    case, readings = measured
    expected, found = (
        {
            (holder.category, holder.module): holder.bytes
            for holder in each.peak_holders
            if holder.category in ("parameters", "buffers", "optimizer state", "input")
        }
        for each in (simulate(case, lambda _: None), readings)
    )
    assert found == expected


def test_peaks_are_ordered(measured):
    _, r = measured
    assert r.peak_requested_bytes <= r.peak_allocated_bytes <= r.peak_active_bytes <= r.peak_reserved_bytes
    assert r.emptied_peak_reserved_bytes <= r.peak_reserved_bytes
    assert r.inference_peak_allocated_bytes < r.peak_allocated_bytes


def test_steps_are_timed_on_the_device_and_on_the_host(measured):
    _, r = measured
    assert len(r.step_seconds) == len(r.step_host_seconds) == len(r.reference_step_seconds)
    kept = [block for block in r.blocks if block.kept]
    assert len(r.step_seconds) == sum(block.step_count for block in kept if block.side == "method")
    assert all(block.wall_seconds > 0 for block in kept)


def test_the_least_memory_trains_and_the_step_below_does_not(keep):
    case = CASES[0]
    outcome = run_isolated("bench.worker:measure_least_memory", case, "cuda", Limits(), None, time_limit=300)
    assert outcome.status == "ok", f"{outcome.phase}: {outcome.message}"
    keep(case, "least_memory", outcome)
    readings = outcome.result
    by_limit = {probe.limit_bytes: probe.status for probe in readings.least_memory_probes}
    assert by_limit[readings.least_memory_bytes] == "ok"
    assert by_limit[readings.least_memory_bytes - 2 * 2**20] == "out_of_memory"
    assert "emulated" in readings.flags


def test_a_history_needs_an_empty_allocator():
    held = torch.ones(1, device="cuda")
    with pytest.raises(RuntimeError, match=r"would not begin with an empty allocator \(\d+ bytes are held\)"):
        attribute(CASES[0], torch.device("cuda", 0))
    del held
