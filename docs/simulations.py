"""Simulated cases for the documents: several at a time, and each once for one state of the code.

Answers are kept in `.cache/`, under a digest of everything that they depend on.
"""

import hashlib
import multiprocessing
import os
import pickle
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.cases import make_case
from bench.probes.required import required_flops
from bench.simulator.least_memory import find_least_memory
from bench.simulator.model import read_model
from bench.simulator.simulate import simulate_case
from bench.training import build_training, count_rounds
from results.record import Readings

MOST_PROCESSES = 8
ROOT = Path(__file__).parents[1]


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
    required_flops: int | None
    """Of a training step, by the method's definition; None where a case has rounds."""


_answers: dict[Asked, Answer] = {}


def prepare(wanted: Iterable[Asked]) -> None:
    """Simulate what is not there yet, in processes side by side."""
    kept = ROOT / ".cache" / f"simulations-{_digest()}.pickle"
    if kept.exists():
        _answers.update(pickle.loads(kept.read_bytes()))  # noqa: S301 - written below
    missing = [case for case in dict.fromkeys(wanted) if case not in _answers]
    if not missing:
        return
    count = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    with ProcessPoolExecutor(max_workers=count, mp_context=multiprocessing.get_context("forkserver")) as pool:
        _answers.update(zip(missing, pool.map(_simulate, missing), strict=True))
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(pickle.dumps(_answers))


def _digest() -> str:
    """Of all code that a simulation runs, of its tables, and the version of torch."""
    folders = ("bench", "methods", "partition", "results")
    found = (
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".csv", ".json")
    )
    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted(path for path in [*found, Path(__file__)] if path.parent != ROOT / "bench" / "commands"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def answer(case: Asked) -> Answer:
    """What a case gives; `prepare` has seen it."""
    return _answers[case]


def peak_gib(case: Asked, reading: str = "allocated") -> float:
    """Simulated peak of a steady step, or with `least` the least memory."""
    name = "least_memory_bytes" if reading == "least" else f"peak_{reading}_bytes"
    return getattr(answer(case).readings, name) / 2**30


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
    if count_rounds(case) > 1:
        return Answer(readings, None)
    training = build_training(case, torch.device("meta"))
    return Answer(readings, required_flops(training.network, *training.next_batch()))
