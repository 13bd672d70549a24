"""Measures one case in its own process, in passes one after the other: memory, attribution, time, inference.

Each pass builds what it needs and drops it, so that none sees what another left.
"""

import torch

from bench.isolated import Report
from bench.passes.attribution import attribute_peak
from bench.passes.inference import time_inference
from bench.passes.memory import measure_memory
from bench.passes.shared import Pass, Phases, open_device
from bench.passes.steps import time_steps
from bench.probes.limits import Limits
from bench.probes.memory import empty
from results.record import Case, Readings


def measure(case: Case, device_name: str, limits: Limits, data_root: str | None, report: Report) -> Readings:
    """Measured readings of a case.

    Args:
        case: what to measure.
        device_name: `cuda` or `cpu`.
        limits: when to stop sampling.
        data_root: folder with the dataset's files, for cases with a loader.
        report: told of each phase.

    Raises:
        InvalidTrainingError: what ran was no training.
        ValueError: the dataset is smaller than the batch.
    """
    device, phases = torch.device(device_name), Phases(report)
    flags: dict[str, None] = {}
    gpu = None
    if device.type == "cuda":
        phases.begin("context")
        gpu = open_device(device)
        flags |= {} if gpu else {"no NVML": None}
    run = Pass(case, device, limits, phases, gpu, flags)
    readings = measure_memory(run)
    if device.type == "cuda":
        readings |= attribute_peak(run, readings)
    readings |= time_steps(run, data_root, readings["steps_counted"])
    empty(device)
    readings |= time_inference(run)
    return Readings(**readings, phases=phases.finish(), flags=tuple(flags))
