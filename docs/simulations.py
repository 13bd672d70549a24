"""Simulated cases for the documents: each once per run, several at a time."""

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import torch

from bench.cases import make_case
from bench.probes.required import required_flops
from bench.simulator.least_memory import find_least_memory
from bench.simulator.model import read_model
from bench.simulator.simulate import simulate_case
from bench.training import build_training
from results.record import Readings

MOST_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """A case that a document needs."""

    method: str
    network: str
    module_count: int = 1
    split: str = "equal"
    batch_size: int = 1024
    dataset: str | None = None
    workspace: str = "none"
    least: bool = False
    """Look for the least memory as well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was simulated."""

    readings: Readings
    required_flops: int
    """Of a training step, by the method's definition."""


_answers: dict[Asked, Answer] = {}


def prepare(wanted: Iterable[Asked]) -> None:
    """Simulate what is not there yet, in processes side by side."""
    missing = [case for case in dict.fromkeys(wanted) if case not in _answers]
    count = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=count, mp_context=context) as pool:
        _answers.update(zip(missing, pool.map(_simulate, missing), strict=True))


def answer(case: Asked) -> Answer:
    """What a case gives."""
    if case not in _answers:
        _answers[case] = _simulate(case)
    return _answers[case]


def peak_gib(case: Asked, reading: str = "allocated") -> float:
    """Simulated peak of a steady step, or with `least` the least memory."""
    readings = answer(case).readings
    return (readings.least_memory_bytes if reading == "least" else getattr(readings, f"peak_{reading}_bytes")) / 2**30


def _simulate(asked: Asked) -> Answer:
    case = make_case(
        method=asked.method,
        network=asked.network,
        dataset=asked.dataset,
        module_count=asked.module_count,
        split=asked.split,
        batch_size=asked.batch_size,
    )
    model = read_model(workspace=asked.workspace)
    readings, simulation = simulate_case(case, model)
    if asked.least:
        readings = replace(readings, least_memory_bytes=find_least_memory(simulation.stream, model.settings))
    training = build_training(case, torch.device("meta"))
    return Answer(readings, required_flops(training.network, *training.next_batch()))
