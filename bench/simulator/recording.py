"""Has a training tell where it is and whose its storages are, to whatever follows them.

Two things follow storages: the simulator's tracker, on tensors without data, and the history of a CUDA device's
allocator (`bench/probes/attribution.py`). Both are told the same, so that their categories are.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from bench.simulator.stream import Category, Place
from bench.training import Training
from methods.engine import Observe, observe_nothing


@contextmanager
def collect_nothing() -> Iterator[None]:
    """While it lasts, Python's garbage collector does not run.

    It would take a third of a simulation's time, and let go of what is caught in cycles at moments of chance.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Recorder(Protocol):
    """What follows storages."""

    def at(self, place: Place) -> AbstractContextManager[None]:
        """Everything inside happens at `place`."""
        ...

    def categorise(self, tensors: Iterable[Tensor], category: Category) -> None:
        """Say what the storages of tensors are."""
        ...

    def start_step(self) -> None:
        """Note that a training step begins."""
        ...


def watch_training(
    recorder: Recorder, modules: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]
) -> None:
    """Tell the recorder which of the storages alive are parameters, buffers, gradients and optimizer state."""
    for module in modules:
        recorder.categorise(module.parameters(), "parameters")
        recorder.categorise(module.buffers(), "buffers")
        recorder.categorise((p.grad for p in module.parameters() if p.grad is not None), "gradients")
    for optimizer in optimizers:
        state = (value for values in optimizer.state.values() for value in values.values())
        recorder.categorise((value for value in state if isinstance(value, Tensor)), "optimizer state")


def observe_training(recorder: Recorder, training: Training, besides: Observe = observe_nothing) -> None:
    """Have every piece of a step announced to the recorder, and to another observer."""
    images, labels = training.next_batch()
    recorder.categorise((images, labels, *([] if training.stored is None else [training.stored])), "input")
    network = training.network

    @contextmanager
    def observe(phase: str, module: int, unit: int | None = None) -> Iterator[None]:
        if phase == "optimizer":  # gradients may be gone when it is over
            watch_training(recorder, [network], ())
        name = None if unit is None else network.chain.unit_names[unit]
        with recorder.at(Place(phase, module, name)), besides(phase, module, unit):
            yield

    training.announce(observe)


def run_step(recorder: Recorder, training: Training) -> None:
    """One step, and what is alive after it."""
    recorder.start_step()
    training.step()
    watch_training(recorder, [training.network], training.optimizers)
    recorder.categorise(training.network.averaged_parameters(), "EMA copies")
