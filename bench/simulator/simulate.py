"""Simulates a case: its peaks, FLOPs and parameters, from a training step on tensors without data."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.probes.flops import FlopCounter
from bench.simulator.ledger import find_peaks
from bench.simulator.tracker import StorageTracker
from bench.training import Training, build_training
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
    tracker = StorageTracker()
    tracker.watch(network)
    for tensor in training.next_batch():
        tracker.see(tensor)
    network.observe = _Narrator(tracker, network)
    starts = []
    with tracker:
        for _ in range(2):
            starts.append(len(tracker.events))
            training.step()
    first, steady = find_peaks(tracker.events, starts)
    return Readings(
        split_sizes=network.split.sizes,
        parameter_count=sum(parameter.numel() for parameter in network.parameters()),
        deployed_parameter_count=sum(parameter.numel() for parameter in network.deployed_parameters()),
        peak_requested_bytes=steady.requested_bytes,
        peak_allocated_bytes=steady.allocated_bytes,
        first_step_peak_allocated_bytes=first.allocated_bytes,
        peak_phase=steady.phase,
        workspace=WORKSPACE,
        **count_flops(training),
    )


def count_flops(training: Training) -> dict[str, int | float]:
    """FLOPs and multiply-adds of a training step and of inference, and the theoretical overhead."""
    network = training.network
    counter = FlopCounter()
    network.observe = counter.observe
    with counter:
        training.step()
    by_phase, total = counter.flops, counter.total
    images, _ = training.next_batch()
    network.eval()
    with torch.no_grad(), FlopCounter() as deployed:
        network(images)
    network.train()
    backbone = by_phase["unit"] + by_phase["head"]
    added, recomputed = by_phase["auxiliary"] + by_phase["context"], by_phase["recompute"]
    return {
        "training_flops": total,
        "training_macs": total // 2,
        "inference_flops": deployed.total,
        "inference_macs": deployed.total // 2,
        "theoretical_overhead": added / backbone + recomputed / (total - recomputed),
    }


class _Narrator:
    """Observer that tells the tracker in words what is under way."""

    def __init__(self, tracker: StorageTracker, network: TrainingNetwork) -> None:
        self.tracker = tracker
        self.names = network.chain.unit_names

    @contextmanager
    def __call__(self, phase: str, module: int, unit: int | None = None) -> Iterator[None]:
        outer = self.tracker.phase
        words = f"forward of unit {self.names[unit]}" if unit is not None else phase
        self.tracker.phase = f"{words} in local module {module + 1}"
        try:
            yield
        finally:
            self.tracker.phase = outer
