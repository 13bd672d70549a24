"""Simulates a case: its peaks, FLOPs and parameters, from a training step on tensors without data."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.probes.flops import FlopCounter
from bench.simulator.ledger import find_peaks
from bench.simulator.tracker import StorageTracker
from bench.training import build_training
from methods.engine import TrainingNetwork
from results.record import Case, Readings

META = torch.device("meta")
WORKSPACE = "none"
"""Convolution and matrix-product workspaces are not modelled."""


def simulate_case(case: Case) -> Readings:
    """Peaks of the first and of a steady step, FLOPs and parameter counts, as on a CUDA device.

    Args:
        case: what to simulate; its batch size costs neither time nor memory here.
    """
    training = build_training(case, META)
    network = training.network
    tracker, counter = StorageTracker(), FlopCounter()
    tracker.watch(network)
    for tensor in training.next_batch():
        tracker.see(tensor)
    network.observe = _Observer(tracker, counter, network.chain.unit_names)
    with tracker:
        training.step()
        second = len(tracker.events)
        with counter:
            training.step()
    first, steady = find_peaks(tracker.events, [0, second])
    return Readings(
        split_sizes=network.split.sizes,
        parameter_count=sum(parameter.numel() for parameter in network.parameters()),
        deployed_parameter_count=sum(parameter.numel() for parameter in network.deployed_parameters()),
        training_flops=counter.total,
        training_macs=counter.total // 2,
        theoretical_overhead=theoretical_overhead(counter.flops),
        peak_requested_bytes=steady.requested_bytes,
        peak_allocated_bytes=steady.allocated_bytes,
        first_step_peak_allocated_bytes=first.allocated_bytes,
        peak_phase=steady.phase,
        workspace=WORKSPACE,
        **_count_inference(network, training.next_batch()[0], tracker),
    )


def theoretical_overhead(flops: Counter[str]) -> float:
    """What a method adds to the arithmetic of a training step, from FLOPs by phase.

    Auxiliary and context networks count by their forward over the backbone's forward, as InfoPro's Table 3 does;
    recomputation by its share of everything else in the step.
    """
    backbone, added = flops["unit"] + flops["head"], flops["auxiliary"] + flops["context"]
    return added / backbone + flops["recompute"] / (flops.total() - flops["recompute"])


def _count_inference(network: TrainingNetwork, images: Tensor, tracker: StorageTracker) -> dict[str, Any]:
    network.eval()
    with torch.no_grad(), tracker, FlopCounter() as counter:
        network(images)
    network.train()
    return {"inference_flops": counter.total, "inference_macs": counter.total // 2}


class _Observer:
    """Tells the tracker in words, and the counter by phase, what is under way."""

    def __init__(self, tracker: StorageTracker, counter: FlopCounter, unit_names: tuple[str, ...]) -> None:
        self.tracker = tracker
        self.counter = counter
        self.unit_names = unit_names

    @contextmanager
    def __call__(self, phase: str, module: int, unit: int | None = None) -> Iterator[None]:
        outer = self.tracker.phase
        words = f"forward of unit {self.unit_names[unit]}" if unit is not None else phase
        self.tracker.phase = f"{words} in local module {module + 1}"
        try:
            with self.counter.observe(phase, module, unit):
                yield
        finally:
            self.tracker.phase = outer
