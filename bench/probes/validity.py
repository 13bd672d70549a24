"""Whether what was measured was a training: steps counted, a loss that is finite and moves, parameters that change."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.training import Training
from methods.sequential import SequentialNetwork


class InvalidTrainingError(RuntimeError):
    """Steps ran, but nothing was trained; the message says what and with which values."""


@dataclass(slots=True, eq=False)
class Watched:
    """A training whose steps are counted and whose parameters are looked at before and after."""

    training: Training
    call_count: int = 0
    """Steps that were asked for."""
    first_losses: tuple[float, ...] = ()
    """Of every local module."""
    first_seconds: float = 0.0
    """Of the very first step, to the end of its work on the device."""
    _last_losses: tuple[Tensor | float, ...] = ()
    _updates: list[int] = field(default_factory=list)
    """Updates that each optimizer made."""
    _before: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._before = checksums(self.training)
        for number, optimizer in enumerate(self.training.optimizers):
            self._updates.append(0)
            optimizer.register_step_post_hook(self._counter(number))

    def step(self) -> None:
        """One training step; the device may still be at it."""
        start = time.perf_counter()
        self._last_losses = self.training.step().losses
        self.call_count += 1
        if not self.first_losses:
            self.first_losses = self.last_losses
            if next(self.training.network.parameters()).is_cuda:
                torch.cuda.synchronize()
            self.first_seconds = time.perf_counter() - start

    def step_alone(self) -> None:
        """One training step that leaves nothing on the device."""
        self.step()
        self._last_losses = self.last_losses

    @property
    def last_losses(self) -> tuple[float, ...]:
        """Of every local module in the last step; waits for the device."""
        return tuple(loss.item() if isinstance(loss, Tensor) else loss for loss in self._last_losses)

    @property
    def steps_counted(self) -> int:
        """Steps in which every optimizer made its update."""
        return min(self._updates, default=0)

    @property
    def skipped(self) -> bool:
        """Whether loss scaling left out updates, as it does until it has found its scale."""
        return self.steps_counted < self.call_count

    def check(self) -> None:
        """Refuse what was no training.

        Raises:
            InvalidTrainingError: steps are missing, the loss is not finite or stood still, parameters did not change.
        """
        problems = [
            *self._problems_of_steps(),
            *_problems_of_losses(self.first_losses, self.last_losses),
            *self._problems_of_parameters(),
        ]
        if problems:
            raise InvalidTrainingError(f"not a training: {'; '.join(problems)} (steps: {self.call_count})")

    def _problems_of_steps(self) -> Iterator[str]:
        fewest = 1 if self.training.scaler.is_enabled() else self.call_count
        if self.steps_counted < fewest or not self.call_count:
            yield f"{self.steps_counted} of {self.call_count} steps updated parameters"

    def count_untrained(self) -> int:
        """Parameters that did not change, of modules that did: a loss may not reach all that it should."""
        pairs = zip(self._before, checksums(self.training), strict=True)
        return sum(a == b for before, now in pairs for a, b in zip(before, now, strict=True))

    def _problems_of_parameters(self) -> Iterator[str]:
        now = checksums(self.training)
        still = [number for number, (a, b) in enumerate(zip(self._before, now, strict=True), 1) if a == b]
        if still and len(still) == len(now):
            yield "no parameter changed"
        elif still:
            yield f"the parameters of local modules {', '.join(map(str, still))} of {len(now)} did not change"

    def _counter(self, number: int) -> Any:
        def count(*_: Any) -> None:
            self._updates[number] += 1

        return count


def _problems_of_losses(first: Sequence[float], last: Sequence[float]) -> Iterator[str]:
    for number, (begin, end) in enumerate(zip(first, last, strict=True), 1):
        which = "the loss" if number == len(last) else f"the loss of local module {number} of {len(last)}"
        if not math.isfinite(end):
            yield f"{which} is {end} (first: {begin})"
        elif begin == end:
            yield f"{which} stood still at {end}"


def checksums(training: Training) -> list[list[float]]:
    """Of each local module that is trained, a number for each of its parameters, which changes when that does."""
    return [list(map(_sum, parameters)) for parameters in _groups(training) if parameters]


def _groups(training: Training) -> list[list[nn.Parameter]]:
    network = training.network
    if isinstance(network, SequentialNetwork):
        return [network.round_parameters()]
    return network.module_parameters()


def _sum(parameter: nn.Parameter) -> float:
    with torch.no_grad():  # on the host, so that the device's memory stays as it is
        return parameter.cpu().double().abs().sum().item()
