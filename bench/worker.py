"""What runs in a case's own process: simulate it, or measure it. Imports torch."""

import gc
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor

from bench.environment import read_environment
from bench.ground_truth import GroundTruth
from bench.isolate import Report
from bench.probes.limits import Limits
from bench.probes.memory import KINDS, Peaks, measure_peaks, read_context
from bench.probes.timing import WARM_UP_STEPS, time_pairs
from bench.probes.workspaces import measure_workspace
from bench.simulator.least_memory import find_least_memory_of_all
from bench.simulator.model import Model, model_of, read_model
from bench.simulator.simulate import join_rounds, simulate_case, simulate_rounds
from bench.simulator.workspaces import ConvolutionSignature, format_table, runs_on_cudnn
from bench.training import Training, build_training, count_rounds
from bench.workloads.data import training_loader
from methods.datasets import get_dataset
from results.record import Case, Environment, Readings

INFERENCE_PAIRS = 10
"""Fewest pairs of inference passes: a pass is a third of a step, and its ratio is closer to 1."""


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


def describe_device(report: Report) -> dict[str, Any]:
    """What a ground truth says of the CUDA device of this machine, but for cases and workspaces."""
    report("look for a GPU")
    device = torch.device("cuda", 0)
    torch.zeros(1, device=device)
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
        "allocator": os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or "",
        "context_bytes": read_context(device),
    }


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


def measure_memory(case: Case, report: Report) -> dict[str, Peaks]:
    """The CUDA allocator's peaks in the first and in the steady step of a case."""
    device = torch.device("cuda", 0)
    report("memory")
    return _measure_rounds(case, device)


def simulate_truth(truth: GroundTruth, report: Report) -> list[dict[str, Peaks]]:
    """Simulated peaks of the cases of a truth, on its device."""
    return [_simulate_true(case.case, model_of(truth), report) for case in truth.cases]


def _simulate_true(case: Case, model: Model, report: Report) -> dict[str, Peaks]:
    report(f"simulate {case.label}")
    peaks: dict[str, Peaks] = {}
    for one in simulate_rounds(case, model):
        for step, peak in (("first", one.simulation.first), ("steady", one.simulation.steady)):
            if peak is not None:
                _keep_highest(peaks.setdefault(step, {}), {kind: getattr(peak, f"{kind}_bytes") for kind in KINDS})
    return peaks


def measure(case: Case, device_name: str, limits: Limits, data_root: str | None, report: Report) -> Readings:
    """Measured readings of a case: peaks (on CUDA), step time and inference time.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    device = torch.device(device_name)
    report("memory")
    peaks = _measured_peaks(case, device) if device.type == "cuda" else {}
    report("build")
    batches = _loader_batches(case, data_root, device) if case.data == "loader" else None
    rounds = [build_training(case, device, batches, number) for number in range(count_rounds(case))]
    method = rounds[-1]
    e2e = replace(case, method="e2e", module_count=1, split_policy="equal")
    reference = method if case.method == "e2e" else build_training(e2e, device, batches)
    losses: list[torch.Tensor] = []
    report("training step")
    steps = time_pairs(
        lambda: (losses.extend([one.step().losses[-1] for one in rounds][-1:]), _synchronize(device)),
        lambda: (reference.step(), _synchronize(device)),
        limits,
        WARM_UP_STEPS[device.type],
    )
    first_loss, last_loss = losses[0].item(), losses[-1].item()
    if not math.isfinite(last_loss):
        raise FloatingPointError(f"the loss is {last_loss} after {len(losses)} steps (first: {first_loss})")
    report("inference")
    passes = time_pairs(
        partial(_infer, method, device),
        partial(_infer, reference, device),
        replace(
            limits, minimum_pairs=min(INFERENCE_PAIRS, limits.maximum_pairs), maximum_seconds=limits.maximum_seconds / 4
        ),
        WARM_UP_STEPS[device.type],
    )
    return Readings(
        split_sizes=method.network.split.sizes,
        step_seconds=steps.seconds,
        reference_step_seconds=steps.reference_seconds,
        timing_stop=steps.stop,
        first_step_seconds=steps.first_seconds,
        inference_seconds=passes.seconds,
        reference_inference_seconds=passes.reference_seconds,
        first_loss=first_loss,
        last_loss=last_loss,
        **peaks,
    )


def _infer(training: Training, device: torch.device) -> None:
    """One forward pass of the deployed network over a batch."""
    with torch.inference_mode():
        training.infer()
    _synchronize(device)


def _measured_peaks(case: Case, device: torch.device) -> dict[str, Any]:
    """The allocator's peaks as fields of `Readings`."""
    peaks = _measure_rounds(case, device)
    return {
        "first_step_peak_allocated_bytes": peaks["first"]["allocated"],
        **{f"peak_{kind}_bytes": size for kind, size in peaks["steady"].items()},
        "workspace": "measured",
    }


def _measure_rounds(case: Case, device: torch.device) -> dict[str, Peaks]:
    """The allocator's peaks in the first and in the steady step, highest of all rounds of the case."""
    peaks: dict[str, Peaks] = {"first": {}, "steady": {}}
    for number in range(count_rounds(case)):
        first, steady = measure_peaks(build_training(case, device, training_round=number).step, device)
        _keep_highest(peaks["first"], first)
        _keep_highest(peaks["steady"], steady)
        gc.collect()  # the next round begins as in a new process
        torch.cuda.empty_cache()
    return peaks


def _keep_highest(peaks: Peaks, others: Peaks) -> None:
    peaks.update({kind: max(size, peaks.get(kind, 0)) for kind, size in others.items()})


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _loader_batches(case: Case, root: str | None, device: torch.device) -> Callable[[], tuple[Tensor, Tensor]]:
    """Full batches of the dataset, again and again, loaded when asked for."""
    loader = training_loader(get_dataset(case.dataset), root or "", case.batch_size)
    if len(loader.dataset) < case.batch_size:  # pyright: ignore[reportArgumentType] - torchvision's datasets have a length
        raise ValueError(f"the dataset has fewer images than the batch ({len(loader.dataset)} < {case.batch_size})")  # pyright: ignore[reportArgumentType]
    full = (batch for batch in chain.from_iterable(repeat(loader)) if len(batch[1]) == case.batch_size)

    def next_batch() -> tuple[Tensor, Tensor]:
        images, labels = next(full)
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return next_batch
