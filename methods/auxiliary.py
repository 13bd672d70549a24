"""Auxiliary networks of local modules: what gives a module its loss, and is dropped at inference.

Heads are in `methods/heads.py`, decoders in `methods/decoders.py`; here they are joined with their losses.
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from methods.api import Parts
from methods.chain import Chain, Shape
from methods.decoders import make_decoder
from methods.heads import EMBEDDING_SIZE, make_head
from methods.losses import reconstruction_loss, supervised_contrastive_loss
from methods.spec import SpecError


class Reconstruction(nn.Module):
    """A decoder with its loss against the images before normalisation."""

    mean: Tensor
    std: Tensor

    def __init__(self, chain: Chain, shape: Shape, parts: Parts) -> None:
        super().__init__()
        dataset = chain.dataset
        self.decoder = make_decoder(shape, dataset=dataset, image_shape=chain.image_shape, widen=parts.widen)
        self.register_buffer("mean", torch.tensor(dataset.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(dataset.std).view(3, 1, 1), persistent=False)

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - as LocalLoss's
        """Loss of features (batch, channels, height, width) against normalised images."""
        return reconstruction_loss(self.decoder(features), images, self.mean, self.std)


class LocalLoss(nn.Module):
    """A head with its loss: the chain's own (`softmax`) or supervised contrastive (`contrast`)."""

    def __init__(self, chain: Chain, shape: Shape, parts: Parts) -> None:
        """Build the head.

        Raises:
            SpecError: the dataset has no such head, or no contrastive loss.
        """
        super().__init__()
        dataset = chain.dataset
        self.contrast = parts.local_loss == "contrast"
        if self.contrast and dataset.label_per_pixel:
            raise SpecError(
                f"the contrastive loss needs one label per image, {dataset.title} has one per pixel: use softmax"
            )
        self.loss = chain.loss
        self.reduction = parts.reduction
        self.head = make_head(
            shape,
            EMBEDDING_SIZE if self.contrast else dataset.class_count,
            parts.head,
            dataset=dataset,
            image_shape=chain.image_shape,
            widen=parts.widen,
        )

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - as Reconstruction's
        """Loss of features (batch, channels, height, width) with labels (batch,) or (batch, *image size)."""
        outputs = self.head(features)
        if self.contrast:
            return supervised_contrastive_loss(outputs, labels, reduction=self.reduction)
        return self.loss(outputs, labels)


class Auxiliary(nn.Module):
    """The loss of one local module: that of its output's head, or with a decoder the weighted sum of both.

    A network whose weight is exactly 0 is not built, unless the method runs it as the released code does.
    """

    def __init__(self, chain: Chain, shape: Shape, parts: Parts, weights: tuple[float, float]) -> None:
        """Build what has a weight.

        Args:
            chain: the backbone; gives classes, image size, normalisation and loss.
            shape: (channels, height, width) of the module's output.
            parts: the method.
            weights: of reconstruction and of the local loss.

        Raises:
            SpecError: both weights are 0, or the dataset lacks what the method asks for.
        """
        super().__init__()
        reconstruction, local = weights
        self.weights = {"decoder": reconstruction, "local_loss": local} if parts.decoder else None
        self.terms = nn.ModuleDict()
        if parts.decoder and (reconstruction or parts.run_zero_weight):
            self.terms["decoder"] = Reconstruction(chain, shape, parts)
        if local or parts.run_zero_weight:
            self.terms["local_loss"] = _make_local_loss(chain, shape, parts)
        if not self.terms:
            raise SpecError(f"a local module would have no loss: both its weights are 0 (weights: {parts.weights})")

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of the module's output (batch, channels, height, width)."""
        if self.weights is None:
            return self.terms["local_loss"](features, images, labels)
        return reduce(add, (self.weights[name] * term(features, images, labels) for name, term in self.terms.items()))


def _make_local_loss(chain: Chain, shape: Shape, parts: Parts) -> nn.Module:
    if not callable(parts.local_loss):
        return LocalLoss(chain, shape, parts)
    network = parts.local_loss(chain, shape, parts)
    if not isinstance(network, nn.Module):
        raise SpecError(f"a local loss must be a torch.nn.Module; {parts.local_loss} gives a {type(network).__name__}")
    return network
