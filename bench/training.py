"""A case made runnable: network, optimizers and batch on a device, and the whole training step.

Optimizer, as in the papers: SGD with Nesterov momentum 0.9 and weight decay 1e-4 on all parameters. Gradients are
dropped, not zeroed, at the start of a step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.workloads.data import synthetic_batch
from bench.workloads.networks import get_network
from methods.datasets import get_dataset
from methods.engine import StepResult, TrainingNetwork
from methods.registry import read_spec
from partition import parse_split
from results.record import Case

LEARNING_RATE = 0.1
"""Of no effect on memory or time."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Training:
    """Everything one case needs to run training steps."""

    network: TrainingNetwork
    optimizers: tuple[torch.optim.Optimizer, ...]
    """One for all parameters, or one per local module."""
    next_batch: Callable[[], tuple[Tensor, Tensor]]
    """Gives (images, labels) on the device."""

    def step(self) -> StepResult:
        """One training step: clear gradients, all forwards and backwards, update."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        images, labels = self.next_batch()
        if self.network.parts.step == "per_module":
            return self.network.training_step(images, labels, after_module=self._step_module)
        result = self.network.training_step(images, labels)
        with self.network.observe("optimizer", self.network.split.module_count - 1, None):
            self.optimizers[0].step()
        self.network.finish_step()
        return result

    def _step_module(self, module: int) -> None:
        self.optimizers[module].step()
        self.optimizers[module].zero_grad()


def _same(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def build_network(case: Case, device: torch.device) -> TrainingNetwork:
    """Network of a case in training mode, with weights drawn from a fixed seed.

    Raises:
        ValueError: a name, split or method that does not fit; see the subclasses raised by their parsers.
    """
    network = get_network(case.network)
    split = parse_split(case.split_policy, network.unit_names, case.module_count)
    spec = read_spec(case.method)
    torch.manual_seed(SEED)
    with torch.device(device):
        chain = network.build(get_dataset(case.dataset), case.height_and_width)
        return TrainingNetwork(chain, split, spec.parts).train()


def build_training(
    case: Case, device: torch.device, next_batch: Callable[[], tuple[Tensor, Tensor]] | None = None
) -> Training:
    """A case ready to run on `device`; on the meta device it runs without data, as CUDA would run it.

    Args:
        case: what to train.
        device: where.
        next_batch: source of batches; None: one synthetic batch, resident on the device.
    """
    network = build_network(case, device)
    if next_batch is None:
        batch = synthetic_batch(get_dataset(case.dataset), case.height_and_width, case.batch_size, device, seed=SEED)
        next_batch = partial(_same, batch)
    per_module = network.parts.step == "per_module"
    groups = network.module_parameters() if per_module else [[p for p in network.parameters() if p.requires_grad]]
    optimizers = tuple(
        torch.optim.SGD(group, LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=1e-4) for group in groups
    )
    return Training(network, optimizers, next_batch)
