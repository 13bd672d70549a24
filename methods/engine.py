"""The engine: one training step of any method, as local modules trained one after the other.

A chain is cut into K local modules. Module k runs its units on its input, computes its loss (the classifier head and
cross-entropy for the last module, auxiliary networks for the others), and back-propagates at once, so that only one
module's activations are alive. Its output is then detached, given context where the method has any, and is the input of
module k + 1. With one module and no part this is end-to-end backprop. Where losses reach beyond their module
(`methods/overlap.py`), a module's activations live until the last loss has passed through them.

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
from methods.leap import LeapAuxiliary, LeapUnits
from methods.overlap import plan_reach, train_overlapping, train_windows_again
from methods.published_weights import published_weights
from methods.released_copies import units_to_copy
from partition import Split, SplitError
from partition.runs import check_runs, find_runs

Observe = Callable[[str, int, int | None], AbstractContextManager[object]]
"""Called as observe(phase, module, unit) around every piece of a step; indices from 0, unit None outside `unit`.

Phases: `unit` (forward), `window` (forward of a unit run again for a window), `earlier` (forward of a
unit of an earlier round's module), `extra loss` (the network's own deep
supervision), `head`, `auxiliary` (head or decoder with its loss), `backward`, `context`, `recompute`, `optimizer`.
"""

_NOTHING = nullcontext()


def observe_nothing(phase: str, module: int, unit: int | None = None) -> AbstractContextManager[object]:  # noqa: ARG001
    """The default observer."""
    return _NOTHING


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a training step leaves behind besides gradients."""

    losses: tuple[Tensor, ...]
    """Weighted loss of every local module that has one, first to last; detached scalars on the device.

    The last is the network's own.
    """


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
        check_runs(parts.segments, len(chain.units))
        if parts.local_loss is None and split.module_count > 1:
            raise SplitError(
                f"this method trains the network as one module (modules: {split.module_count}): ask for 1 module"
            )
        self.chain = chain
        self.split = split
        self.parts = parts
        self.observe: Observe = observe_nothing
        self.scale_loss: Callable[[Tensor], Tensor] = _as_it_is
        """What a loss goes through before its backward: loss scaling where gradients are narrow."""
        shapes = [chain.image_shape, *(chain.unit_shapes[last] for last in split.last_units[:-1])]
        weights = loss_weights(chain, parts, split.module_count, even=is_even(split))
        self.reach = plan_reach(chain, split, parts) if parts.link or parts.cascade else None
        self.auxiliaries = nn.ModuleDict()
        self.windows = nn.ModuleDict()
        for k, pair in enumerate(weights):
            self._add_auxiliaries(k, shapes[k + 1], pair)
        context = parts.context if parts.context and parts.context.encodes else None
        junctions = [Junction(context, k, shapes) for k in range(1, split.module_count)] if context else []
        self.junctions = nn.ModuleList(junctions)
        self.last_use: dict[int, int] = {source: junction.k for junction in junctions for source in junction.sources}
        initialize_convolutions(self.junctions)

    def _add_auxiliaries(self, k: int, shape: tuple[int, int, int], weights: tuple[float, float]) -> None:
        """The networks that give module k its own loss and, with windows, that of the window ending in it."""
        if self.parts.cascade is None or self.reach is None:
            self.auxiliaries[str(k)] = self._build_auxiliary(k, shape, weights, leaps=True)
            return
        (own, _), (window, _) = self.reach.shares[k]
        if own:
            self.auxiliaries[str(k)] = self._build_auxiliary(k, shape, weights, leaps=False)
        if window:
            self.windows[str(k)] = self._build_auxiliary(k, shape, weights, leaps=True)

    def _build_auxiliary(
        self, k: int, shape: tuple[int, int, int], weights: tuple[float, float], *, leaps: bool
    ) -> nn.Module:
        chain, leap = self.chain, self.parts.leap
        copied: tuple[int, ...] = ()
        if leap is not None and leaps:
            shapes = (chain.image_shape, *chain.unit_shapes)
            end = self.split.last_units[k]
            copied = (
                units_to_copy(chain.name, self.split.module_count, chain.unit_names, shapes, end)
                if leap.copies is None
                else leap.copies[end]
            )
        auxiliary = Auxiliary(chain, chain.unit_shapes[copied[-1]] if copied else shape, self.parts, weights)
        initialize_convolutions(auxiliary)
        if leap is None or not copied:
            return auxiliary
        return LeapAuxiliary(LeapUnits(chain, copied, leap), auxiliary)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the deployed network: backbone and context networks, no auxiliary."""
        features = images
        contexts = {0: images}
        for k, units in enumerate(self.split.modules()):
            if k > 0:
                features = self.add_context(k, features, images, contexts)
            for unit in units:
                features = self.chain.units[unit](features)
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
        if self.parts.cascade is not None and self.parts.cascade.repeat:
            losses = train_windows_again(self, images, labels)
        elif self.reach is not None:
            losses = train_overlapping(self, images, labels)
        else:
            losses = self._train_isolated(images, labels, after_module)
        self._follow_live_weights(before_step=True)
        return StepResult(tuple(losses))

    def finish_step(self) -> None:
        """What a method does after the optimizer's step: averaged copies follow the live weights."""
        self._follow_live_weights(before_step=False)

    def _train_isolated(
        self, images: Tensor, labels: Tensor, after_module: Callable[[int], None] | None
    ) -> list[Tensor]:
        """Every loss trains its own module."""
        features, contexts, losses = images, {0: images}, []
        for k, units in enumerate(self.split.modules()):
            if k > 0:
                features = self.add_context(k, features, images, contexts)
            features, extra = self.run_units(k, units, features, labels)
            loss = self.loss(k, features, images, labels)
            if extra is not None:
                loss = loss + extra
                del extra
            with self.observe("backward", k, None):
                self.scale_loss(loss).backward()
            losses.append(loss.detach())
            del loss  # its graph would otherwise live through the next module's forward
            features = features.detach()
            if after_module is not None:
                with self.observe("optimizer", k, None):
                    after_module(k)
        return losses

    def _follow_live_weights(self, *, before_step: bool) -> None:
        """Averaged copies move towards the units they were copied from, if this is their moment."""
        leap = self.parts.leap
        if leap is None or leap.before_step != before_step:
            return
        copies = [member for member in self.modules() if isinstance(member, LeapUnits)]
        with self.observe("optimizer", self.split.module_count - 1, None):
            for leap_units in copies[-1:] if leap.last_only else copies:
                leap_units.follow(self.chain)

    def averaged_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that no loss trains: averaged copies of live weights."""
        return (parameter for parameter in self.parameters() if not parameter.requires_grad)

    def module_parameters(self) -> list[list[nn.Parameter]]:
        """Parameters that the loss of each local module trains: its units, auxiliary networks and incoming context."""
        last = self.split.module_count - 1
        groups: list[list[nn.Parameter]] = []
        for k, units in enumerate(self.split.modules()):
            members = self.members(units)
            members += [self.junctions[k - 1]] if self.junctions and k > 0 else []
            members += [self.chain.head] if k == last else []
            members += [networks[str(k)] for networks in (self.auxiliaries, self.windows) if str(k) in networks]
            groups.append([p for member in members for p in member.parameters() if p.requires_grad])
        return groups

    def deployed_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the network used at inference."""
        yield from self.chain.units.parameters()
        yield from self.chain.head.parameters()
        yield from self.junctions.parameters()

    def members(self, units: range) -> list[nn.Module]:
        """Units with their extra losses."""
        extra = [self.chain.extra_losses[str(unit)] for unit in units if str(unit) in self.chain.extra_losses]
        return [*(self.chain.units[unit] for unit in units), *extra]

    def run_units(
        self, k: int, units: range, features: Tensor, labels: Tensor, phase: str = "unit"
    ) -> tuple[Tensor, Tensor | None]:
        """Output of units, in checkpointed segments where the method has them, and the sum of their extra losses."""
        losses = None
        for run in find_runs(self.parts.segments, units):
            if run.kept:
                features, extra = self._forward_units(k, run.units, phase, features, labels)
            else:
                # torch types checkpoint's result as unknown.
                features, extra = checkpoint(
                    self._forward_units,
                    k,
                    run.units,
                    phase,
                    features,
                    labels,
                    use_reentrant=False,
                    context_fn=partial(self._checkpoint_contexts, k, run.units),
                )  # pyright: ignore[reportGeneralTypeIssues]
            losses = _add(losses, extra)
        return features, losses

    def _forward_units(
        self, k: int, units: range, phase: str, features: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        losses = None
        for unit in units:
            with self.observe(phase, k, unit):
                features = self.chain.units[unit](features)
            if str(unit) in self.chain.extra_losses and phase == "unit":
                with self.observe("extra loss", k, None):
                    losses = _add(losses, self.chain.extra_losses[str(unit)](features, labels))
        return features, losses

    def _checkpoint_contexts(
        self, k: int, units: range
    ) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), _Reentered(partial(self._recomputing, k, units))

    @contextmanager
    def _recomputing(self, k: int, units: range) -> Iterator[None]:
        with self.observe("recompute", k, None), frozen_statistics(self.members(units)):
            yield

    def loss(self, k: int, features: Tensor, images: Tensor, labels: Tensor, *, window: bool = False) -> Tensor:
        """Loss of the output of module k, its own or that of the window ending in it; the last module has one head."""
        if k == self.split.module_count - 1:
            with self.observe("head", k, None):
                return self.chain.loss(self.chain.head(features), labels)
        with self.observe("auxiliary", k, None):
            return (self.windows if window else self.auxiliaries)[str(k)](features, images, labels)

    def add_context(self, k: int, features: Tensor, images: Tensor, contexts: dict[int, Tensor]) -> Tensor:
        """Input g_k of module k = 1 .. K-1: the output of the module before, with context where there is any.

        Args:
            k: the module, also the number of the junction in front of it.
            features: output of the module before; overwritten where no graph and nothing else needs it.
            images: the batch of images.
            contexts: detached module inputs g_0 .. that this or later junctions encode, by index; kept up to date.
        """
        if not self.junctions:
            return features
        raw = features.detach() if self.parts.context and self.parts.context.raw else None
        with self.observe("context", k - 1, None):
            features = self.junctions[k - 1](features, images, contexts, keep=raw is not None and k in self.last_use)
        if k in self.last_use:
            contexts[k] = features.detach() if raw is None else raw
        for source in [source for source in contexts if self.last_use.get(source, 0) <= k]:
            del contexts[source]
        return features


def _add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second


class _Reentered(AbstractContextManager[None]):
    """Opens a fresh context every time: a segment is recomputed once for every backward that passes through it."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self.make = make
        self.scopes: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        scope = self.make()
        scope.__enter__()
        self.scopes.append(scope)

    def __exit__(self, *error: object) -> None:
        self.scopes.pop().__exit__(*error)  # pyright: ignore[reportArgumentType] - passed on as they come


def is_even(split: Split) -> bool:
    """Whether modules have as many units, give or take one; loss weights were published for such splits and others."""
    return max(split.sizes) - min(split.sizes) <= 1


def loss_weights(chain: Chain, parts: Parts, module_count: int, *, even: bool) -> list[tuple[float, float]]:
    """Weights of reconstruction and local loss of every module but the last."""
    local_count = module_count - 1
    if not parts.decoder:
        return [(0.0, 1.0)] * local_count
    weights = parts.weights or published_weights(
        chain.dataset.name,
        chain.name,
        module_count,
        equal_split=even,
        contsup=parts.context is not None,
        image_size=chain.image_shape[1:],
    )
    return [weights.at(k, module_count) for k in range(local_count)]


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
