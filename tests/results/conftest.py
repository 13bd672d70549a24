from dataclasses import replace

import pytest

from results.record import Case, Environment, Measurement, Readings
from results.samples import Holder


@pytest.fixture
def measurement():
    """A finished simulation with every kind of reading: whole, real, text, list, empty list, structs, not measured."""
    return Measurement(
        case=Case(
            method="contsup[R1E]",
            network="resnet32",
            dataset="cifar10",
            image_size=32,
            module_count=4,
            split_policy="equal",
            batch_size=1024,
        ),
        provenance="simulated",
        device="cuda",
        status="ok",
        started_at="2026-03-15T12:00:00+00:00",
        wall_seconds=1.25,
        readings=Readings(
            split_sizes=(4, 4, 4, 4),
            peak_allocated_bytes=1_234_567_168,
            theoretical_overhead=0.059,
            step_seconds=(0.5, 0.25),
            reference_step_seconds=(),
            workspace="none",
            peak_holders=(
                Holder(category="activations", module=0, bytes=1_234_567_000),
                Holder(category="parameters", module=None, bytes=168),
            ),
            flags=(),
        ),
        environment=Environment(
            peakbench_version="0.1.0",
            simulator_version=1,
            torch_version="2.15.0",
            torchvision_version=None,
            cuda_version=None,
            cudnn_version=None,
            driver_version=None,
            python_version="3.11.7",
            operating_system="Linux",
            device_name="H200",
            device_memory_bytes=150_000_000_000,
            cpu_name="EPYC",
            cpu_count=2,
            thread_count=2,
            git_commit=None,
            git_dirty=False,
        ),
    )


@pytest.fixture
def with_modules(measurement):
    """The same measurement with another K: a row of its own."""

    def make(module_count):
        return replace(measurement, case=replace(measurement.case, module_count=module_count))

    return make
