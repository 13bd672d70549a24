"""How the papers optimise: batch, learning rate and optimizer of every dataset, and their schedules as pure functions.

Source: InfoPro (ICLR 2021), appendix, and released code (the warm-up is in the code alone); MLAAN (arXiv 2406.16633)
and released code. Imports no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

WARM_UP_EPOCHS = 10
WARM_UP_RATE = 0.01
"""Learning rate of the first epoch of a warm-up."""
LEAST_RATE = 1e-4
"""What a polynomial schedule comes down to."""

Schedule = Callable[[int, int, float], float]
"""Learning rate of (period from 0, number of periods, base rate); a period is an epoch or an iteration."""


def cosine(period: int, periods: int, base_rate: float) -> float:
    """Half a cosine from the base rate down, never quite to 0."""
    return 0.5 * base_rate * (1 + math.cos(math.pi * period / periods))


def cosine_to_zero(period: int, periods: int, base_rate: float) -> float:
    """Half a cosine that has its end, 0, in the last period."""
    return cosine(period + 1, periods, base_rate)


def cosine_with_warm_up(period: int, periods: int, base_rate: float) -> float:
    """`cosine_to_zero`, to which the first ten periods lead from `WARM_UP_RATE` in equal shares."""
    share = min(period / WARM_UP_EPOCHS, 1.0)
    return share * cosine_to_zero(period, periods, base_rate) + (1 - share) * WARM_UP_RATE


def polynomial(period: int, periods: int, base_rate: float) -> float:
    """Power 0.9 of what is left, from the base rate to `LEAST_RATE`."""
    return (base_rate - LEAST_RATE) * (1 - period / periods) ** 0.9 + LEAST_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a paper trains a network on a dataset: SGD with these settings."""

    batch_size: int
    """Images per step, over all GPUs."""
    base_rate: float
    schedule: Schedule
    epochs: int | None = None
    """Number of periods where a period is an epoch."""
    iterations: int | None = None
    """Number of periods where a period is an iteration."""
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    """On all parameters."""

    def learning_rate(self, period: int) -> float:
        """Learning rate in an epoch or iteration, counted from 0."""
        return self.schedule(period, self.epochs or self.iterations or 1, self.base_rate)


_CIFAR = Recipe(batch_size=1024, base_rate=0.8, epochs=160, schedule=cosine_with_warm_up)
_IMAGENET = Recipe(batch_size=1024, base_rate=0.4, epochs=90, schedule=cosine)
_CITYSCAPES = Recipe(
    batch_size=8, base_rate=0.01, iterations=40_000, schedule=polynomial, nesterov=False, weight_decay=5e-4
)

BY_DATASET: dict[str, Recipe] = {
    "cifar10": _CIFAR,
    "svhn": _CIFAR,
    "stl10": replace(_CIFAR, batch_size=128, base_rate=0.1),
    "imagenet": _IMAGENET,
    "cityscapes": _CITYSCAPES,
}
BY_NETWORK: dict[tuple[str, str], Recipe] = {
    ("cifar10", "densenet_bc_100_12"): Recipe(batch_size=256, base_rate=0.2, epochs=160, schedule=cosine_to_zero),
    ("imagenet", "resnext101_32x8d"): replace(_IMAGENET, batch_size=512, base_rate=0.2),
}
"""(dataset, network): what differs from the dataset's."""
OTHERS: dict[str, Recipe] = {
    "cityscapes, batch 12": replace(_CITYSCAPES, batch_size=12, base_rate=0.015),
    "cityscapes, 640x1280": replace(_CITYSCAPES, base_rate=0.015),
    "cityscapes, 60k iterations": replace(_CITYSCAPES, iterations=60_000),
    # Nesterov momentum 0.8 in MLAAN's paper, 0.9 in its code.
    "mlaan cifar10": replace(_CIFAR, epochs=400),
    "mlaan stl10": replace(_CIFAR, batch_size=128, base_rate=0.1, epochs=400),
    "mlaan imagenet": replace(_IMAGENET, batch_size=128, base_rate=0.05, epochs=150),
}
"""Further published recipes, by name."""


def find_recipe(dataset: str, network: str) -> Recipe:
    """The published recipe of a network on a dataset; CIFAR-10's for datasets of one's own."""
    return BY_NETWORK.get((dataset, network)) or BY_DATASET.get(dataset, _CIFAR)
