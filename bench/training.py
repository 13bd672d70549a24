"""A case made runnable: network, optimizers and batch on a device, and the whole training step.

Optimizers: SGD as in the papers, with the momentum and weight decay of the dataset's recipe
(`bench/workloads/optimisation.py`) on all parameters; Adam and AdamW as torch sets them. Gradients are dropped, not
zeroed, at the start of a step.

Narrow number formats: every piece of a forward, losses included, runs under autocast, backwards and optimizers do not,
and weights stay float32; float16 scales its losses. On the meta device all of this means CUDA.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.splits import find_split, is_placed
from bench.workloads.data import synthetic_batch, synthetic_features
from bench.workloads.networks import network_for
from bench.workloads.optimisation import find_recipe
from methods.datasets import get_dataset
from methods.engine import Observe, StepResult, TrainingNetwork
from methods.registry import read_spec
from methods.sequential import SequentialNetwork, build_training_network
from results.record import Case

SEED = 0
LEARNING_RATE = 0.1
"""Of SGD; of no effect on memory or time."""
LOSS_SCALE = 2.0**10
"""At which loss scaling begins in float16. torch begins at 2^16 and halves it at every overflow; a step that overflows
makes no update, hence no optimizer state either: peaks of such steps would be too low."""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_WITHOUT_AUTOCAST = ("backward", "optimizer")

NextBatch = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Training:
    """Everything one case needs to run training steps."""

    case: Case
    network: TrainingNetwork
    optimizers: tuple[torch.optim.Optimizer, ...]
    """One for all parameters, or one per local module."""
    scaler: torch.amp.GradScaler
    """Scales losses in float16; does nothing in other formats."""
    next_batch: NextBatch
    """Gives (images, labels) on the device."""
    stored: Tensor | None = None
    """Stored input of the module under training, resident on the device; None: nothing is stored."""

    def step(self) -> StepResult:
        """One training step: clear gradients, all forwards and backwards, update."""
        with numeric_options(self.case):
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            images, labels = self.next_batch()
            if self.network.parts.step == "per_module":
                result = self.network.training_step(images, labels, after_module=self._step_module)
            else:
                result = self._train(images, labels)
                with self.network.observe("optimizer", self.network.split.module_count - 1, None):
                    self._clamp_gradients()
                    self.scaler.step(self.optimizers[0])
                self.network.finish_step()
            self.scaler.update()
            return result

    def _train(self, images: Tensor, labels: Tensor) -> StepResult:
        if isinstance(self.network, SequentialNetwork):
            return self.network.training_step(images, labels, features=self.stored)
        return self.network.training_step(images, labels)

    def _clamp_gradients(self) -> None:
        if self.network.parts.clamp is not None:
            self.scaler.unscale_(self.optimizers[0])
            nn.utils.clip_grad_value_(self.optimizers[0].param_groups[0]["params"], self.network.parts.clamp)

    def infer(self) -> Tensor:
        """Logits of the deployed network for a batch, (batch, classes); leaves the network in evaluation mode.

        Whether gradients are followed is the caller's to say.
        """
        self.network.eval()
        images = self.next_batch()[0]
        with numeric_options(self.case), autocast(self.case, images.device):
            return self.network(images)

    def announce(self, observe: Observe) -> None:
        """Have every piece of a step announced to `observe` (see `methods.engine`), under autocast where it belongs."""
        device = next(self.network.parameters()).device
        narrow = self.case.precision != "float32"
        self.network.observe = partial(_observe_under_autocast, observe, self.case, device) if narrow else observe

    def _step_module(self, module: int) -> None:
        self.scaler.step(self.optimizers[module])
        self.optimizers[module].zero_grad()


def autocast(case: Case, device: torch.device) -> torch.autocast:
    """The region of autocast of a case: none in float32."""
    narrow = case.precision != "float32"
    return torch.autocast(_as_cuda(device), getattr(torch, case.precision) if narrow else None, enabled=narrow)


@contextmanager
def numeric_options(case: Case) -> Iterator[None]:
    """While it lasts, torch's switches for CUDA's arithmetic are those of a case."""
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = case.tf32, case.tf32, case.cudnn_benchmark
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before


def build_network(case: Case, device: torch.device) -> TrainingNetwork:
    """Network of a case in training mode, with weights drawn from a fixed seed.

    Raises:
        ValueError: a name, split or method that does not fit; see the subclasses raised by their parsers.
    """
    if not is_placed(case):
        from bench.balance import place_boundaries  # noqa: PLC0415 - which builds networks itself

        case = place_boundaries(case)
    spec = read_spec(case.method)
    network = network_for(spec.parts, case.network, case.module_count, case.height_and_width)
    split = find_split(case.split_policy, network, case.module_count)
    torch.manual_seed(SEED)
    with torch.device(device):
        chain = network.build(get_dataset(case.dataset), case.height_and_width)
        built = build_training_network(chain, split, spec.parts).train()
    return built.to(memory_format=MEMORY_FORMATS[case.memory_format])


def compile_units(network: TrainingNetwork, mode: str) -> None:
    """Have `torch.compile` compile every unit of the backbone at its first call, each by itself.

    What joins units stays Python: a local module's step has a backward and a detach in it, which no graph spans.
    """
    for unit in network.chain.units:
        unit.compile(mode=None if mode == "default" else mode)


def _settings(case: Case) -> dict[str, Any]:
    """What an optimizer is given besides parameters."""
    if case.optimizer != "sgd":
        return {}
    recipe = find_recipe(case.dataset, case.network)
    return {
        "lr": LEARNING_RATE,
        "momentum": recipe.momentum,
        "nesterov": recipe.nesterov,
        "weight_decay": recipe.weight_decay,
    }


def count_rounds(case: Case) -> int:
    """Rounds of a case's method: one per module where modules are trained one after the other, else one."""
    return case.module_count if read_spec(case.method).parts.sequential else 1


def build_training(
    case: Case,
    device: torch.device,
    next_batch: NextBatch | None = None,
    training_round: int = 0,
    network: TrainingNetwork | None = None,
) -> Training:
    """A case ready to run on `device`; on the meta device it runs without data, as CUDA would run it.

    Args:
        case: what to train.
        device: where; for float16 on the meta device, inside `autocast_as_cuda`.
        next_batch: source of batches; None: one synthetic batch, resident on the device.
        training_round: which of its rounds, from 0, where the method has rounds.
        network: in place of the case's own.
    """
    network = network or build_network(case, device)
    if case.compile != "none" and device.type != "meta":
        compile_units(network, case.compile)
    memory_format = MEMORY_FORMATS[case.memory_format]
    if next_batch is None:
        batch = synthetic_batch(get_dataset(case.dataset), case.height_and_width, case.batch_size, device, seed=SEED)
        next_batch = partial(_same, _in_format(batch, memory_format))
    else:
        next_batch = partial(_convert, next_batch, memory_format)
    stored = None
    if isinstance(network, SequentialNetwork):
        stored = _start_round(network, training_round, case, device)
    groups = _parameter_groups(network)
    make = partial(OPTIMIZERS[case.optimizer], **_settings(case))
    scaler = torch.amp.GradScaler(_as_cuda(device), LOSS_SCALE, enabled=case.precision == "float16")
    network.scale_loss = scaler.scale
    training = Training(case, network, tuple(map(make, groups)), scaler, next_batch, stored)
    training.announce(network.observe)
    return training


def _start_round(network: SequentialNetwork, k: int, case: Case, device: torch.device) -> Tensor | None:
    """Begin round k, the rounds before taken as done; a batch of its stored inputs where the method stores them."""
    with torch.device(device):
        network.start_round(k)
    if k == 0 or not network.sequential.stored:
        return None
    shape = network.chain.unit_shapes[network.split.last_units[k - 1]]
    features = synthetic_features(shape, case.batch_size, device, seed=SEED)
    return features.contiguous(memory_format=MEMORY_FORMATS[case.memory_format])


def _parameter_groups(network: TrainingNetwork) -> list[list[nn.Parameter]]:
    """What each optimizer updates."""
    if isinstance(network, SequentialNetwork):
        return [network.round_parameters()]
    if network.parts.step == "per_module":
        return network.module_parameters()
    return [[parameter for parameter in network.parameters() if parameter.requires_grad]]


def _as_cuda(device: torch.device) -> str:
    return "cuda" if device.type == "meta" else device.type


def _in_format(batch: tuple[Tensor, Tensor], memory_format: torch.memory_format) -> tuple[Tensor, Tensor]:
    images, labels = batch
    return images.contiguous(memory_format=memory_format), labels


def _same(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def _convert(next_batch: NextBatch, memory_format: torch.memory_format) -> tuple[Tensor, Tensor]:
    return _in_format(next_batch(), memory_format)


@contextmanager
def _observe_under_autocast(
    observe: Observe, case: Case, device: torch.device, phase: str, module: int, unit: int | None = None
) -> Iterator[None]:
    with observe(phase, module, unit):
        if phase in _WITHOUT_AUTOCAST:
            yield
        else:
            with autocast(case, device):
                yield
