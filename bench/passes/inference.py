"""The pass of inference: forwards of the deployed network, over the batch and over one image."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.passes.shared import Pass
from bench.probes import memory
from bench.probes.timing import Samples, time_pairs
from bench.training import MEMORY_FORMATS, SEED, autocast, build_training, count_rounds, numeric_options
from bench.workloads.data import synthetic_batch
from methods.datasets import get_dataset
from results.record import Case

INFERENCE_SHARE = 1 / 4
"""Of the time limit of steps, for each kind of inference."""


def time_inference(run: Pass) -> dict[str, Any]:
    """Forward passes of the deployed network over the batch and over one image, as fields of `Readings`."""
    run.phases.begin("inference")
    method = _deployed(run.case, run.device)
    peak = None
    if run.device.type == "cuda":
        peak = _inference_peak(method, run)
    reference = method if run.case.method == "e2e" else _deployed(run.e2e, run.device)
    limits = replace(run.limits, maximum_seconds=run.limits.maximum_seconds * INFERENCE_SHARE)
    samples: dict[int, Samples] = {}
    for batch_size in dict.fromkeys((run.case.batch_size, 1)):
        images = _images(run.case, batch_size, run.device)
        calls = [partial(infer, images) for infer in (method, reference)]
        samples[batch_size] = time_pairs(calls[0], calls[1], limits, run.machine)
        run.flags |= dict.fromkeys(samples[batch_size].flags)
    whole, single = samples[run.case.batch_size], samples[1]
    return {
        "inference_seconds": whole.seconds,
        "reference_inference_seconds": whole.reference_seconds,
        "inference_block_pass_count": whole.block_step_count,
        "latency_seconds": single.seconds,
        "reference_latency_seconds": single.reference_seconds,
        "latency_block_pass_count": single.block_step_count,
        "inference_peak_allocated_bytes": peak,
    }


def _deployed(case: Case, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The deployed network in evaluation mode, as a function of images."""
    training = build_training(case, device, training_round=count_rounds(case) - 1)
    network = training.network.eval().requires_grad_(requires_grad=False)

    def infer(images: Tensor) -> Tensor:
        with torch.inference_mode(), numeric_options(case), autocast(case, device):
            return network(images)

    return infer


def _images(case: Case, batch_size: int, device: torch.device) -> Tensor:
    images, _ = synthetic_batch(get_dataset(case.dataset), case.height_and_width, batch_size, device, seed=SEED)
    return images.contiguous(memory_format=MEMORY_FORMATS[case.memory_format])


def _inference_peak(infer: Callable[[Tensor], Tensor], run: Pass) -> int:
    images = _images(run.case, run.case.batch_size, run.device)
    infer(images)
    memory.empty(run.device)
    torch.cuda.reset_peak_memory_stats(run.device)
    infer(images)
    torch.cuda.synchronize(run.device)
    return torch.cuda.max_memory_allocated(run.device)
