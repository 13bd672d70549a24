"""The pass of time: steps of the method beside those of end-to-end backprop."""

import os
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor

from bench.isolated import is_out_of_memory
from bench.passes.shared import Pass
from bench.probes.cpu_load import BUSY, read_cpu_times, share_of_others
from bench.probes.timing import time_pairs
from bench.probes.validity import Watched
from bench.training import NextBatch, build_training, count_rounds
from bench.workloads.data import training_loader
from methods.datasets import get_dataset
from results.record import Case


def time_steps(run: Pass, data_root: str | None, counted: int) -> dict[str, Any]:
    """Steps of the method beside those of E2E, as fields of `Readings`; `counted` are those of the memory pass."""
    case, device = run.case, run.device
    run.phases.begin("build")
    batches = _loader_batches(case, data_root, device) if case.data == "loader" else None
    rounds = [Watched(build_training(case, device, batches, number)) for number in range(count_rounds(case))]

    def step() -> None:
        for one in rounds:
            one.step()

    reference = step if case.method == "e2e" else _reference_step(run, batches)
    before = read_cpu_times()
    samples = time_pairs(step, reference, run.limits, run.machine, run.phases.begin)
    others = share_of_others(before, read_cpu_times(), os.cpu_count() or 1)
    if others is not None and others > BUSY:
        run.flags["busy CPU"] = None
    for one in rounds:
        one.check()
    if any(one.count_untrained() for one in rounds):
        run.flags["untrained parameters"] = None
    if any(one.skipped for one in rounds):
        run.flags["skipped updates"] = None
    run.flags |= dict.fromkeys(samples.flags)
    if samples.stop == "time":
        run.flags["time limit"] = None
    last = rounds[-1]
    return {
        "split_sizes": last.training.network.split.sizes,
        "step_seconds": samples.seconds,
        "reference_step_seconds": samples.reference_seconds,
        "step_host_seconds": samples.host_seconds,
        "reference_step_host_seconds": samples.reference_host_seconds,
        "step_energy_joules": samples.energy_joules,
        "reference_step_energy_joules": samples.reference_energy_joules,
        "block_step_count": samples.block_step_count,
        "blocks": samples.blocks,
        "timing_stop": samples.stop,
        "foreign_cpu_share": others,
        "warm_up_step_count": samples.warm_up_step_count,
        "first_loss": last.first_losses[-1],
        "last_loss": last.last_losses[-1],
        "steps_counted": counted + sum(one.steps_counted for one in rounds),
    }


def _reference_step(run: Pass, batches: NextBatch | None) -> Callable[[], object] | None:
    """A step of E2E on the same device; None where memory does not hold one, which is flagged."""
    try:
        reference = build_training(run.e2e, run.device, batches)
        reference.step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        run.flags["E2E does not fit"] = None
        return None
    return reference.step


def _loader_batches(case: Case, root: str | None, device: torch.device) -> NextBatch:
    """Full batches of the dataset, again and again, loaded when asked for."""
    loader = training_loader(get_dataset(case.dataset), root or "", case.batch_size)
    if len(loader.dataset) < case.batch_size:  # pyright: ignore[reportArgumentType] - torchvision's datasets have a length
        raise ValueError(f"the dataset has fewer images than the batch ({len(loader.dataset)} < {case.batch_size})")  # pyright: ignore[reportArgumentType]
    full = (batch for batch in chain.from_iterable(repeat(loader)) if len(batch[1]) == case.batch_size)

    def next_batch() -> tuple[Tensor, Tensor]:
        images, labels = next(full)
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return next_batch
