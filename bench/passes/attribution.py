"""The pass of attribution: what holds the peak on a GPU, from the history of its allocator."""

from typing import Any

import torch

from bench.passes.shared import Pass
from bench.probes import memory
from bench.probes.attribution import AllocatorHistory, AttributionError
from bench.simulator.allocator import AllocatorSettingError
from bench.simulator.ledger import find_peak, holders, replay
from bench.simulator.model import read_model
from bench.simulator.recording import observe_training, run_step
from bench.simulator.simulate import STEPS, sum_by_module
from bench.simulator.stream import Place
from bench.training import build_training, count_rounds
from results.record import Case
from results.samples import Holder


def attribute_peak(run: Pass, readings: dict[str, Any]) -> dict[str, Any]:
    """What holds the peak of the round that needs most; whatever is not accounted for is flagged."""
    run.phases.begin("attribution")
    try:
        found = [attribute(run.case, run.device, number) for number in range(count_rounds(run.case))]
    except (AttributionError, AllocatorSettingError) as error:
        run.flags[f"no attribution: {error}"] = None
        return {}
    finally:
        memory.empty(run.device)
    held = max(found, key=lambda each: sum(holder.bytes for holder in each))
    rest = readings["peak_allocated_bytes"] - sum(holder.bytes for holder in held)
    if rest:
        run.flags["attribution differs"] = None
        held = (*held, Holder(category="unattributed", module=None, bytes=rest))
    return {"peak_holders": held}


def attribute(case: Case, device: torch.device, number: int = 0) -> tuple[Holder, ...]:
    """What holds the allocated peak of the steady step of one round, from the allocator's history.

    Raises:
        AttributionError: the allocator is in use, or its history is not whole.
        AllocatorSettingError: the case has a setting of the allocator that cannot be replayed.
    """
    memory.empty(device)
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - they would be held from before the history
    memory.empty(device)
    settings = read_model().for_case(case).settings
    with AllocatorHistory(device) as history:
        with history.at(Place("build")):
            training = build_training(case, device, training_round=number)
        observe_training(history, training)
        for _ in range(STEPS):
            run_step(history, training)
        history.end_steps()
        stream = history.stream()
    ledger = replay(stream, settings)
    peak = find_peak(stream, ledger, STEPS - 1)
    return sum_by_module(holders(stream, ledger, peak.event)) if peak else ()
