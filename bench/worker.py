"""What runs in a case's own process: simulate it, or measure it. Imports torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from bench import least_memory
from bench.balance import place_boundaries
from bench.environment import read_environment
from bench.ground_truth import GroundTruth
from bench.isolate import Report
from bench.measure import measure
from bench.passes.shared import open_device, read_process_memory
from bench.probes.limits import Limits
from bench.probes.memory import KINDS, Peaks, empty, keep_highest, measure_peaks
from bench.probes.workspaces import measure_workspace
from bench.simulator.least_memory import find_least_memory_of_all
from bench.simulator.model import Model, model_of, read_model
from bench.simulator.simulate import join_rounds, simulate_case, simulate_rounds
from bench.simulator.workspaces import ConvolutionSignature, format_table, runs_on_cudnn
from bench.training import build_training, count_rounds
from results.record import Case, Environment, Readings

__all__ = ["measure", "measure_least_memory"]


def environment(device: str | None, report: Report) -> Environment:
    """Fingerprint for readings on `device`; None for simulated ones."""
    report("read the environment")
    return read_environment(torch.device(device) if device else read_model().name)


def simulate(case: Case, report: Report) -> Readings:
    """Simulated readings of a case."""
    report("simulate")
    model = read_model().for_case(case)
    rounds = simulate_rounds(case, model)
    report("find the least memory")
    least = find_least_memory_of_all([one.simulation.stream for one in rounds], model.settings)
    return replace(join_rounds(rounds)[0], least_memory_bytes=least)


def measure_least_memory(
    case: Case, device_name: str, limits: Limits, data_root: str | None, report: Report
) -> Readings:
    """Least memory with which a case trains on a CUDA device; see `bench.least_memory`."""
    return least_memory.measure_least_memory(
        case, device_name, limits, data_root, report, simulate=lambda one: simulate(one, report)
    )


def describe_device(report: Report) -> dict[str, Any]:
    """What a ground truth says of the CUDA device of this machine, but for cases and workspaces."""
    report("look for a GPU")
    device = torch.device("cuda", 0)
    held = read_process_memory(open_device(device), device)
    properties, environment = torch.cuda.get_device_properties(device), read_environment(device)
    return {
        "device": {
            "title": properties.name,
            "stand_in": properties.name.startswith("Hollow"),
            "capability": [properties.major, properties.minor],
            "multiprocessors": properties.multi_processor_count,
            "threads_per_multiprocessor": properties.max_threads_per_multi_processor,
            "memory_bytes": properties.total_memory,
            "l2_cache_bytes": properties.L2_cache_size,
            "registers_per_multiprocessor": properties.regs_per_multiprocessor,
            "shared_memory_per_block_bytes": properties.shared_memory_per_block,
            "shared_memory_per_block_optin_bytes": properties.shared_memory_per_block_optin,
            "warp_threads": properties.warp_size,
        },
        "versions": {
            "peakbench": environment.peakbench_version,
            "torch": environment.torch_version,
            "cuda": environment.cuda_version,
            "cudnn": environment.cudnn_version,
            "driver": environment.driver_version,
            "python": environment.python_version,
        },
        "allocator": environment.allocator_settings or "",
        "context_bytes": held.context_bytes if held else None,
    }


def place_cases(cases: Sequence[Case], report: Report) -> list[Case]:
    """Cases with the sizes that `balanced` means, so that what is measured is what is simulated."""
    report("split")
    return [place_boundaries(case) for case in cases]


def list_convolutions(truth: GroundTruth, cases: Sequence[Case], report: Report) -> list[ConvolutionSignature]:
    """Every convolution that the cases would give to cuDNN on the device of a truth."""
    model = model_of(truth, workspace="bound")
    for case in cases:
        report(f"simulate {case.label}")
        simulate_case(case, model)
    return [each for each in model.source.asked if runs_on_cudnn(each, model.device.capability)]


def measure_workspaces(signatures: Sequence[ConvolutionSignature], report: Report) -> tuple[str, ...]:
    """Lines of a table of the workspaces of these convolutions on the CUDA device."""
    sizes: dict[ConvolutionSignature, int] = {}
    for signature in signatures:
        report(f"run {signature}")
        sizes[signature] = measure_workspace(signature)
        torch.cuda.empty_cache()
    return tuple(format_table(sizes).splitlines())


def measure_case_peaks(case: Case, report: Report) -> dict[str, Peaks]:
    """The CUDA allocator's peaks in the first and in the steady step of a case, the highest of all its rounds."""
    device = torch.device("cuda", 0)
    report("memory")
    peaks: dict[str, Peaks] = {"first": {}, "steady": {}}
    for number in range(count_rounds(case)):
        found = measure_peaks(build_training(case, device, training_round=number).step, device)
        for step, each in zip(peaks, found, strict=True):
            keep_highest(peaks[step], {kind: each[kind] for kind in KINDS})
        empty(device)  # the next round begins as in a new process
    return peaks


def simulate_truth(truth: GroundTruth, report: Report) -> list[dict[str, Peaks]]:
    """Simulated peaks of the cases of a truth, on its device."""
    return [_simulate_true(case.case, model_of(truth), report) for case in truth.cases]


def _simulate_true(case: Case, model: Model, report: Report) -> dict[str, Peaks]:
    report(f"simulate {case.label}")
    peaks: dict[str, Peaks] = {}
    for one in simulate_rounds(case, model):
        for step, peak in (("first", one.simulation.first), ("steady", one.simulation.steady)):
            if peak is not None:
                keep_highest(peaks.setdefault(step, {}), {kind: getattr(peak, f"{kind}_bytes") for kind in KINDS})
    return peaks
