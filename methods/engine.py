"""The engine: one training step of any method, as local modules trained one after the other.

A chain is cut into K local modules. Module k runs its units on its input, computes its loss (the classifier head and
cross-entropy for the last module, auxiliary networks for the others), and back-propagates at once, so that only one
module's activations are alive. Its output is then detached, given context where the method has any, and is the input of
module k + 1. With one module and no part this is end-to-end backprop.

The engine says where it is through `observe`, which does nothing by default: attribution, FLOPs by part and timelines
hang on that one seam.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from methods.api import Parts
from methods.auxiliary import Auxiliary
from methods.chain import Chain, initialize_convolutions
from methods.context import Junction
from methods.published_weights import published_weights
from partition import Split, SplitError, equal_split

Observe = Callable[[str, int, int | None], AbstractContextManager[object]]
"""Called as observe(phase, module, unit) around every piece of a step; indices from 0, unit None outside `unit`.

Phases: `unit` (forward), `extra loss` (the network's own deep supervision), `head`, `auxiliary` (head or decoder with
its loss), `backward`, `context`, `recompute`, `optimizer`.
"""

_NOTHING = nullcontext()


def observe_nothing(phase: str, module: int, unit: int | None = None) -> AbstractContextManager[object]:  # noqa: ARG001
    """The default observer."""
    return _NOTHING


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a training step leaves behind besides gradients."""

    losses: tuple[Tensor, ...]
    """Loss of every local module, first to last; detached scalars on the device. The last is the network's own."""


class TrainingNetwork(nn.Module):
    """A chain with what a method adds to it, able to run one training step."""

    def __init__(self, chain: Chain, split: Split, parts: Parts) -> None:
        """Build auxiliary and context networks; the chain is used as it is.

        Args:
            chain: the backbone.
            split: its local modules; one module for methods without a local loss.
            parts: the method.

        Raises:
            SplitError: the split does not fit the chain or the method.
            SpecError: a module would have no loss.
        """
        super().__init__()
        if split.unit_count != len(chain.units):
            raise SplitError(f"split {split} has {split.unit_count} units, the chain {len(chain.units)}")
        if parts.local_loss is None and split.module_count > 1:
            raise SplitError(
                f"this method trains the network as one module (modules: {split.module_count}): ask for 1 module"
            )
        self.chain = chain
        self.split = split
        self.parts = parts
        self.observe: Observe = observe_nothing
        shapes = [chain.image_shape, *(chain.unit_shapes[last] for last in split.last_units[:-1])]
        weights = _loss_weights(chain, split, parts)
        self.auxiliaries = nn.ModuleList(
            Auxiliary(chain, shape, parts, pair) for shape, pair in zip(shapes[1:], weights, strict=True)
        )
        self.junctions = nn.ModuleList()
        if parts.context is not None:
            self.junctions.extend(Junction(parts.context, k, shapes) for k in range(1, split.module_count))
        initialize_convolutions(self.auxiliaries)
        initialize_convolutions(self.junctions)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the deployed network: backbone and context networks, no auxiliary."""
        features = images
        inputs = [images]
        for k, units in enumerate(self.split.modules()):
            for unit in units:
                features = self.chain.units[unit](features)
            if k < len(self.junctions):
                features = self._add_context(k, features, images, inputs)
        return self.chain.head(features)

    def training_step(
        self, images: Tensor, labels: Tensor, after_module: Callable[[int], None] | None = None
    ) -> StepResult:
        """Forward and backward of every local module; gradients are added to `.grad`.

        Args:
            images: float, (batch, 3, height, width), normalised.
            labels: int, (batch,).
            after_module: called with k after the backward of module k; steps that module's optimizer where the
                method asks for `step=per_module`.
        """
        features = images
        inputs = [images]
        losses = []
        for k, units in enumerate(self.split.modules()):
            features, extra = self._run_units(k, units, features, labels)
            loss = self._loss(k, features, images, labels)
            if extra is not None:
                loss = loss + extra
                del extra
            with self.observe("backward", k, None):
                loss.backward()
            losses.append(loss.detach())
            del loss  # its graph would otherwise live through the next module's forward
            features = features.detach()
            if after_module is not None:
                with self.observe("optimizer", k, None):
                    after_module(k)
            if k < len(self.junctions):
                with self.observe("context", k, None):
                    features = self._add_context(k, features, images, inputs)
        return StepResult(tuple(losses))

    def module_parameters(self) -> list[list[nn.Parameter]]:
        """Parameters that the loss of each local module trains: its units, auxiliary networks and incoming context."""
        last = self.split.module_count - 1
        groups: list[list[nn.Parameter]] = []
        for k, units in enumerate(self.split.modules()):
            members = self._members(units)
            members += [self.junctions[k - 1]] if self.junctions and k > 0 else []
            members += [self.chain.head] if k == last else [self.auxiliaries[k]]
            groups.append([parameter for member in members for parameter in member.parameters()])
        return groups

    def deployed_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the network used at inference."""
        yield from self.chain.units.parameters()
        yield from self.chain.head.parameters()
        yield from self.junctions.parameters()

    def _run_units(self, k: int, units: range, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Output of the units, and the sum of their extra losses where they have any."""
        if self.parts.segments is None:
            return self._forward_units(k, units, features, labels)
        segments = equal_split(len(units), min(self.parts.segments, len(units))).modules()
        losses = None
        for segment in segments:
            indices = units[segment.start : segment.stop]
            # torch types checkpoint's result as unknown.
            features, extra = checkpoint(
                self._forward_units,
                k,
                indices,
                features,
                labels,
                use_reentrant=False,
                context_fn=partial(self._checkpoint_contexts, k, indices),
            )  # pyright: ignore[reportGeneralTypeIssues]
            losses = _add(losses, extra)
        return features, losses

    def _forward_units(self, k: int, units: range, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        losses = None
        for unit in units:
            with self.observe("unit", k, unit):
                features = self.chain.units[unit](features)
            if str(unit) in self.chain.extra_losses:
                with self.observe("extra loss", k, None):
                    losses = _add(losses, self.chain.extra_losses[str(unit)](features, labels))
        return features, losses

    def _members(self, units: range) -> list[nn.Module]:
        """Units with their extra losses."""
        extra = [self.chain.extra_losses[str(unit)] for unit in units if str(unit) in self.chain.extra_losses]
        return [*(self.chain.units[unit] for unit in units), *extra]

    def _checkpoint_contexts(
        self, k: int, units: range
    ) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), self._recomputing(k, units)

    @contextmanager
    def _recomputing(self, k: int, units: range) -> Iterator[None]:
        with self.observe("recompute", k, None), frozen_statistics(self._members(units)):
            yield

    def _loss(self, k: int, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        if k == self.split.module_count - 1:
            with self.observe("head", k, None):
                return self.chain.loss(self.chain.head(features), labels)
        with self.observe("auxiliary", k, None):
            return self.auxiliaries[k](features, images, labels)

    def _add_context(self, k: int, features: Tensor, images: Tensor, inputs: list[Tensor]) -> Tensor:
        """Junction behind module k; keeps in `inputs` the module inputs that later junctions read, latest first."""
        features = self.junctions[k](features, images, inputs)
        kept = self.parts.context.features if self.parts.context else 0
        inputs.insert(0, features.detach())
        del inputs[kept:]
        return features


def _add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second


def _loss_weights(chain: Chain, split: Split, parts: Parts) -> list[tuple[float, float]]:
    """Weights of reconstruction and local loss of every module but the last."""
    local_count = split.module_count - 1
    if not parts.decoder:
        return [(0.0, 1.0)] * local_count
    equal = split == equal_split(split.unit_count, split.module_count)
    weights = parts.weights or published_weights(chain.dataset.name, chain.name, split.module_count, equal_split=equal)
    return [weights.at(k, split.module_count) for k in range(local_count)]


@contextmanager
def frozen_statistics(modules: list[nn.Module]) -> Iterator[None]:
    """Batch norms inside normalise by their batch as in training, but leave their running statistics alone."""
    norms = [norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
