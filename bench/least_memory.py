"""Measures the least memory with which a case trains on a CUDA device: a process of its own for every limit tried.

The limit is that of `torch.cuda.set_per_process_memory_fraction`: it covers the caching allocator's segments alone, so
the CUDA context comes on top. A capped large card is no small card (cuDNN chooses by the memory of the whole device),
hence rows are flagged `emulated`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.environment import read_uuid
from bench.isolate import Outcome, run_isolated
from bench.isolated import Report
from bench.passes.shared import ProcessMemory, as_readings, open_device, read_process_memory
from bench.probes import memory
from bench.probes.least_memory import find_least_limit
from bench.probes.limits import Limits
from bench.training import build_training, count_rounds
from results.record import Case, Readings
from results.samples import Probe

STEPS = 10
"""Training steps that have to run under a limit."""
UNTIMED_STEPS = 3
"""Of these, the first ones, in which memory settles."""
PROBE_SECONDS = 1800.0
"""After which a probe is given up; the case's own time limit usually comes first."""

Ask = Callable[..., Outcome]
"""Calls a function in a process of its own, as `run_isolated` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a process that trained under a limit has to say."""

    step_seconds: tuple[float, ...]
    retry_count: int
    allocated_bytes: int
    """Peak, as the next."""
    reserved_bytes: int
    device_bytes: int
    """Memory of the whole device."""
    process: ProcessMemory | None
    uuid: str | None


def train_limited(case: Case, limit_bytes: int | None, report: Report) -> Trial:
    """Train some steps of every round under a limit; runs in a process of its own.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    report("context")
    device = torch.device("cuda", 0)
    gpu = open_device(device)
    total = torch.cuda.get_device_properties(device).total_memory
    if limit_bytes is not None:
        # Half a byte more, so that torch's own rounding down meets the limit.
        torch.cuda.set_per_process_memory_fraction(min((limit_bytes + 0.5) / total, 1.0), device)
    seconds: list[float] = []
    highest: memory.Peaks = {}
    held, loss = None, math.nan
    for number in range(count_rounds(case)):
        report("build")
        training = build_training(case, device, training_round=number)
        report("training step")
        for step in range(STEPS):
            start = time.perf_counter()
            loss = training.step().losses[-1].item()
            torch.cuda.synchronize(device)
            if step >= UNTIMED_STEPS:
                seconds.append(time.perf_counter() - start)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} after {STEPS} steps")
        memory.keep_highest(highest, memory.read_peaks(device))
        held = read_process_memory(gpu, device) or held
        del training
        memory.empty(device)
    return Trial(
        step_seconds=tuple(seconds),
        retry_count=memory.count_retries(device),
        allocated_bytes=highest["allocated"],
        reserved_bytes=highest["reserved"],
        device_bytes=total,
        process=held,
        uuid=read_uuid(device),
    )


def measure_least_memory(
    case: Case,
    device_name: str,
    limits: Limits,  # noqa: ARG001 - of the same form as `measure`
    data_root: str | None,  # noqa: ARG001
    report: Report,
    simulate: Callable[[Case], Readings],
    ask: Ask = run_isolated,
) -> Readings:
    """Least memory of a case, with every probe.

    Args:
        case: what to train.
        device_name: `cuda`.
        limits: not used: a probe has its own number of steps.
        data_root: not used: data are synthetic.
        report: told of each limit.
        simulate: gives simulated readings, whose least memory is tried first; it may refuse by a ValueError.
        ask: runs a probe in a process of its own.

    Raises:
        ValueError: it is not a CUDA device.
        MemoryError: the case does not train on the whole device.
        RuntimeError: the case does not train for another reason.
    """
    if device_name != "cuda":
        raise ValueError(f"least memory is measured on a CUDA device (device: {device_name})")
    report("simulate")
    try:
        guess = simulate(case).least_memory_bytes
    except ValueError:
        guess = None
    probes: list[Probe] = []

    def probe(limit: int | None) -> Outcome:
        report("train without a limit" if limit is None else f"train within {limit / 2**20:g} MiB")
        outcome = ask("bench.least_memory:train_limited", case, limit, time_limit=PROBE_SECONDS)
        probes.append(_describe(limit, outcome))
        return outcome

    free = probe(None)
    if free.status != "ok":
        raise (MemoryError if free.status == "out_of_memory" else RuntimeError)(f"{free.phase}: {free.message}")
    trial: Trial = free.result
    least = find_least_limit(
        lambda limit: probe(limit).status == "ok",
        floor_bytes=trial.allocated_bytes,
        ceiling_bytes=trial.reserved_bytes,
        most_bytes=trial.device_bytes,
        guess_bytes=guess,
    )
    return Readings(
        least_memory_bytes=least,
        least_memory_probes=tuple(probes),
        **as_readings(trial.process),
        workspace="measured",
        device_uuid=trial.uuid,
        flags=tuple(_flag(least, probes)),
    )


def _describe(limit: int | None, outcome: Outcome) -> Probe:
    trial: Trial | None = outcome.result if outcome.status == "ok" else None
    return Probe(
        limit_bytes=limit,
        status=outcome.status,
        retry_count=trial.retry_count if trial else None,
        step_seconds=trial.step_seconds if trial else None,
        message=None if trial else f"{outcome.phase}: {outcome.message}",
    )


def _flag(least: int | None, probes: list[Probe]) -> list[str]:
    failed = [probe for probe in probes if probe.status != "ok"]
    words = {
        "emulated": True,
        "non-monotone": any(least is not None and (probe.limit_bytes or 0) >= least for probe in failed),
        "other failures": any(probe.status != "out_of_memory" for probe in failed),
    }
    return [word for word, holds in words.items() if holds]
