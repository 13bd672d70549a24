"""PredSim: every module has a classifier, and similarities of its features should be those of the labels.

Source: Nøkland and Eidnes, ICML 2019 (arXiv 1901.06656), section 2.
Departures: the classifier reads features pooled to one value per channel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.api import STEP, Method, Option
from methods.chain import Chain, Shape


def similarity(rows: Tensor) -> Tensor:
    """Cosine similarity of all pairs of centred rows: (batch, n) to (batch, batch)."""
    rows = functional.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1)
    return rows @ rows.T


class PredSimLoss(nn.Module):
    """Loss of one module: maps its output (batch, *shape), the images and the labels to a scalar."""

    def __init__(self, chain: Chain, shape: Shape, beta: float) -> None:
        super().__init__()
        channels, classes = shape[0], chain.dataset.class_count
        self.beta = beta
        self.register_buffer("classes", torch.arange(classes), persistent=False)
        self.classifier = nn.Linear(channels, classes)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        predicted = functional.cross_entropy(self.classifier(features.mean(dim=(2, 3))), labels)
        found = similarity(self.convolution(features).flatten(2).std(dim=2))
        wanted = similarity((labels[:, None] == self.classes).float())
        return (1 - self.beta) * predicted + self.beta * functional.mse_loss(found, wanted)


@dataclass(frozen=True)
class PredSim:
    """Builds the loss of a module; its fields are what options set."""

    beta: float = 0.99

    def __call__(self, chain: Chain, shape: Shape, parts: object) -> PredSimLoss:
        return PredSimLoss(chain, shape, self.beta)


BETA = Option(name="beta", sets="local_loss.beta", default="0.99", pattern=r"0(\.\d+)?|1", read=float, hint="0 to 1",
              help="weight of the similarity, the classifier has the rest")  # fmt: skip
METHODS = [
    Method(name="predsim", summary="PredSim: a classifier and similarity matching", source="arXiv 1901.06656",
           begins={"local_loss": PredSim()}, begin_options=(BETA, STEP))
]  # fmt: skip
