"""What runs in a case's own process: simulate it, or measure it. Imports torch."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor

from bench.environment import read_environment
from bench.isolate import Report
from bench.probes.limits import Limits
from bench.probes.memory import measure_peaks
from bench.probes.timing import WARM_UP_STEPS, time_pairs
from bench.simulator.model import read_model
from bench.simulator.simulate import simulate_case
from bench.training import Training, build_training
from bench.workloads.data import training_loader
from methods.datasets import get_dataset
from results.record import Case, Environment, Readings

INFERENCE_PAIRS = 10
"""Fewest pairs of inference passes: a pass is a third of a step, and its ratio is closer to 1."""


def find_device(report: Report) -> str:
    """`cuda` where this machine has a usable GPU, else `cpu`."""
    report("look for a GPU")
    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(device: str | None, report: Report) -> Environment:
    """Fingerprint for readings on `device`; None for simulated ones."""
    report("read the environment")
    return read_environment(torch.device(device) if device else read_model().name)


def simulate(case: Case, report: Report) -> Readings:
    """Simulated readings of a case."""
    report("simulate")
    readings, _ = simulate_case(case)
    return readings


def describe_device(report: Report) -> dict[str, Any]:
    """Name, memory and capability of the CUDA device, and the libraries torch runs with there."""
    report("look for a GPU")
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": [properties.major, properties.minor],
        "multiprocessors": properties.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": read_environment(torch.device("cuda", 0)).cudnn_version,
    }


def measure_memory(case: Case, report: Report) -> Readings:
    """The CUDA allocator's peaks of a case."""
    device = torch.device("cuda", 0)
    report("memory")
    return Readings(**measure_peaks(build_training(case, device).step, device))


def simulate_for_device(case: Case, report: Report) -> Readings:
    """Simulated readings for the CUDA device of this machine."""
    report("simulate")
    properties = torch.cuda.get_device_properties(0)
    model = read_model()
    device = replace(
        model.device,
        capability=(properties.major, properties.minor),
        multiprocessors=properties.multi_processor_count,
        threads_per_multiprocessor=properties.max_threads_per_multi_processor,
    )
    readings, _ = simulate_case(case, replace(model, name=properties.name, device=device))
    return readings


def measure(case: Case, device_name: str, limits: Limits, data_root: str | None, report: Report) -> Readings:
    """Measured readings of a case: peaks (on CUDA), step time and inference time.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    device = torch.device(device_name)
    report("memory")
    peaks = measure_peaks(build_training(case, device).step, device) if device.type == "cuda" else {}
    report("build")
    batches = _loader_batches(case, data_root, device) if case.data == "loader" else None
    method = build_training(case, device, batches)
    e2e = replace(case, method="e2e", module_count=1, split_policy="equal")
    reference = method if case.method == "e2e" else build_training(e2e, device, batches)
    losses: list[torch.Tensor] = []
    report("training step")
    steps = time_pairs(
        lambda: (losses.append(method.step().losses[-1]), _synchronize(device)),
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
    training.network.eval()
    with torch.inference_mode():
        training.network(training.next_batch()[0])
    _synchronize(device)


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
