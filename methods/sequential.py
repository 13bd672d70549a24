"""Methods in rounds: local modules are trained one after the other, each to completion, behind the finished ones.

Round k trains module k on what modules 0 .. k-1 make of the images. They are finished: they run in evaluation mode and
without a graph, or not at all where their outputs were stored. In an ensemble they are trained on instead, and a copy
of every earlier round's network keeps its vote. There is one `training_step` for every method; what it trains is said
by `start_round`.

A module under training sees the same losses as in simultaneous training. Later modules wait; their weights lie on the
device meanwhile.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from methods.api import Parts, Sequential
from methods.auxiliary import Auxiliary, LocalLoss
from methods.chain import Chain
from methods.engine import StepResult, TrainingNetwork
from methods.spec import SpecError
from partition import Split


class SequentialNetwork(TrainingNetwork):
    """A training network with rounds; a new one is in the first.

    Attributes:
        round: index of the module that is trained.
        voters: copies of the networks of earlier rounds; empty unless the method is an ensemble.
        votes: (rounds,), weight of every round's vote; all 1 until boosting says otherwise.
    """

    votes: Tensor

    def __init__(self, chain: Chain, split: Split, parts: Parts) -> None:
        """Build what `TrainingNetwork` builds.

        Raises:
            SplitError: the split does not fit the chain or the method.
            SpecError: the method has no rounds, or boosts labels that are not one per image.
        """
        super().__init__(chain, split, parts)
        if parts.sequential is None:
            raise SpecError("this method trains all modules in the same step, it has no rounds: use TrainingNetwork")
        self.sequential: Sequential = parts.sequential
        if self.sequential.boosts and chain.dataset.label_per_pixel:
            raise SpecError(f"boosting weighs images by their one label, {chain.dataset.title} has one per pixel")
        self.round = 0
        self.voters = nn.ModuleList()
        self.register_buffer("votes", torch.ones(split.module_count if self.sequential.ensemble else 0))

    def start_round(self, k: int) -> Self:
        """Train module k from now on; what was trained before is finished.

        Args:
            k: from the present round to K-1.

        Raises:
            ValueError: k is no round, or over already.
        """
        if not self.round <= k < self.split.module_count:
            raise ValueError(
                f"rounds go forward, from {self.round} to {self.split.module_count - 1} (asked for: {k}); "
                "build the network again to begin anew"
            )
        if self.sequential.ensemble:
            self.voters.extend(Voter(self._units_until(past), self.classifier(past)) for past in range(self.round, k))
        self.round = k
        return self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, or evaluation mode; what is finished stays in evaluation mode."""
        super().train(mode)
        self.voters.eval()
        for unit in [] if self.sequential.ensemble else self._units_until(self.round - 1):
            unit.eval()
        return self

    def training_step(
        self,
        images: Tensor,
        labels: Tensor,
        after_module: Callable[[int], None] | None = None,
        features: Tensor | None = None,
    ) -> StepResult:
        """Forward and backward of this round; gradients are added to `.grad` of `round_parameters`.

        Args:
            images: float, (batch, 3, height, width), normalised.
            labels: int, (batch,).
            after_module: called with the round after its backward.
            features: input of the module under training where it was stored, (batch, channels, height, width); None:
                earlier modules compute it.

        Returns:
            One loss, that of the round.
        """
        k, modules = self.round, self.split.modules()
        if features is None:
            features = self.earlier_features(images, labels)
        features, extra = self.run_units(k, modules[k], features, labels)
        loss = self.loss(k, features, images, labels)
        if extra is not None:
            loss = loss + extra
            del extra
        if self.sequential.exponential:
            loss = loss.exp()
        with self.observe("backward", k, None):
            self.scale_loss(loss).backward()
        if after_module is not None:
            with self.observe("optimizer", k, None):
                after_module(k)
        return StepResult((loss.detach(),))

    def earlier_features(self, images: Tensor, labels: Tensor) -> Tensor:
        """What earlier modules make of images: the input of the module under training."""
        features, modules = images, self.split.modules()
        if self.sequential.ensemble:
            for j in range(self.round):
                features, _ = self.run_units(j, modules[j], features, labels, "earlier")
            return features
        with torch.no_grad():
            for j in range(self.round):
                for unit in modules[j]:
                    with self.observe("earlier", j, unit):
                        features = self.chain.units[unit](features)
        return features

    def round_parameters(self) -> list[nn.Parameter]:
        """Parameters that this round trains."""
        groups = self.module_parameters()
        if not self.sequential.ensemble:
            return groups[self.round]
        earlier = [p for units in self.split.modules()[: self.round] for p in _parameters(self.members(units))]
        return [*earlier, *groups[self.round]]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the deployed network; of an ensemble the weighted sum of its votes, (batch, classes)."""
        logits = super().forward(images)
        if not self.sequential.ensemble:
            return logits
        votes = self.votes[-1] * logits.softmax(1)
        for vote, voter in zip(self.votes, self.voters, strict=False):
            votes = votes + vote * voter(images).softmax(1)
        return votes

    def hypothesis(self, images: Tensor) -> Tensor:
        """Class probabilities of this round's network: modules up to the present one and their classifier.

        In the mode and with the graph that the caller chose.
        """
        features = images
        for unit in self._units_until(self.round):
            features = unit(features)
        return self.classifier(self.round)(features).softmax(1)

    def classifier(self, k: int) -> nn.Module:
        """The head that gives logits of module k's output.

        Raises:
            SpecError: the module is trained by a loss without one.
        """
        if k == self.split.module_count - 1:
            return self.chain.head
        auxiliary = self.auxiliaries[str(k)]
        term = auxiliary.terms["local_loss"] if isinstance(auxiliary, Auxiliary) else None
        if not isinstance(term, LocalLoss) or term.contrast:
            raise SpecError(f"the loss of local module {k + 1} has no classifier: boosting needs a softmax loss")
        return term.head

    def deployed_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the network used at inference, those of all voters included."""
        yield from super().deployed_parameters()
        yield from self.voters.parameters()

    def averaged_parameters(self) -> Iterator[nn.Parameter]:
        """None: voters are not averages."""
        return iter(())

    def _units_until(self, k: int) -> list[nn.Module]:
        """Units of modules 0 .. k."""
        return list(self.chain.units[: self.split.last_units[k] + 1]) if k >= 0 else []


class Voter(nn.Module):
    """A copy of the network of a finished round."""

    def __init__(self, units: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*deepcopy([*units, head])).requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (batch, 3, height, width)."""
        return self.layers(images)


def _parameters(modules: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    for member in modules:
        yield from member.parameters()


def build_training_network(chain: Chain, split: Split, parts: Parts) -> TrainingNetwork:
    """The network of a method, with rounds where it has them; errors are those of both classes."""
    return (SequentialNetwork if parts.sequential else TrainingNetwork)(chain, split, parts)
