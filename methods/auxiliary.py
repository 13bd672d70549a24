"""Auxiliary networks of local modules: heads that give a local loss, and the decoder that reconstructs the image.

Source: methods of InfoPro (ICLR 2021), appendix (Table 12) and released code; ContSup uses the same.
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.api import Parts
from methods.chain import Chain
from methods.datasets import Dataset
from methods.losses import reconstruction_loss, supervised_contrastive_loss
from methods.spec import SpecError

EMBEDDING_SIZE = 128
"""Width of hidden linear layers and of contrastive embeddings."""
DECODER_WIDTH = 12
_HEAD_CONVOLUTIONS = {16: (2, 32), 32: (2, 64), 64: (1, 64)}
"""Channels a head reads -> stride and output channels of its first convolution."""


def local_head(channels: int, spatial_size: int, outputs: int, config: str) -> nn.Sequential:
    """A head such as `1c2f`: convolutions with batch norm and ReLU, global average pooling, linear layers.

    Args:
        channels: channels of the module's output.
        spatial_size: its height and width; decides for channels other than 16, 32 and 64.
        outputs: classes (softmax) or embedding size (contrast).
        config: `<convolutions>c<linear layers>f`.

    Returns:
        Network from (batch, channels, spatial_size, spatial_size) to (batch, outputs).
    """
    convolutions, linears = int(config[0]), int(config[2])
    layers: list[nn.Module] = []
    stride, width = _HEAD_CONVOLUTIONS.get(channels) or _convolution_by_size(spatial_size)
    for _ in range(convolutions):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels, stride = width, 1
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for _ in range(linears - 1):
        layers += [nn.Linear(channels, EMBEDDING_SIZE), nn.ReLU(inplace=True)]
        channels = EMBEDDING_SIZE
    return nn.Sequential(*layers, nn.Linear(channels, outputs))


def _convolution_by_size(spatial_size: int) -> tuple[int, int]:
    """The CIFAR ResNet's rule read by feature-map size, for networks with other widths (our choice)."""
    if spatial_size >= 32:  # noqa: PLR2004 - first stage of a CIFAR network
        return (2, 32)
    return (2, 64) if spatial_size > 8 else (1, 64)  # noqa: PLR2004 - last stage


class Decoder(nn.Module):
    """Reconstructs the image from a module's output: bilinear upsampling and two 3x3 convolutions, then a sigmoid."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, image_size: int, dataset: Dataset) -> None:
        super().__init__()
        self.image_size = image_size
        self.layers = nn.Sequential(
            nn.Conv2d(channels, DECODER_WIDTH, 3, padding=1),
            nn.BatchNorm2d(DECODER_WIDTH),
            nn.ReLU(),
            nn.Conv2d(DECODER_WIDTH, 3, 3, padding=1),
            nn.Sigmoid(),
        )
        self.register_buffer("mean", torch.tensor(dataset.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(dataset.std).view(3, 1, 1), persistent=False)

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - as LocalLoss's
        """Reconstruction loss of features (batch, channels, height, width) against normalised images."""
        if features.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            features = functional.interpolate(features, size, mode="bilinear", align_corners=True)
        return reconstruction_loss(self.layers(features), images, self.mean, self.std)


class LocalLoss(nn.Module):
    """A head with its loss: cross-entropy (`softmax`) or supervised contrastive (`contrast`)."""

    def __init__(self, shape: tuple[int, int, int], class_count: int, parts: Parts) -> None:
        super().__init__()
        self.contrast = parts.local_loss == "contrast"
        self.reduction = parts.reduction
        self.head = local_head(shape[0], shape[1], EMBEDDING_SIZE if self.contrast else class_count, parts.head)

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - as Decoder's
        """Loss of features (batch, channels, height, width) with labels (batch,)."""
        outputs = self.head(features)
        if self.contrast:
            return supervised_contrastive_loss(outputs, labels, reduction=self.reduction)
        return functional.cross_entropy(outputs, labels)


class Auxiliary(nn.Module):
    """The loss of one local module: that of its output's head, or with a decoder the weighted sum of both.

    A network whose weight is exactly 0 is not built, unless the method runs it as the released code does.
    """

    def __init__(self, chain: Chain, shape: tuple[int, int, int], parts: Parts, weights: tuple[float, float]) -> None:
        """Build what has a weight.

        Args:
            chain: the backbone; gives classes, image size and normalisation.
            shape: (channels, height, width) of the module's output.
            parts: the method.
            weights: of reconstruction and of the local loss.

        Raises:
            SpecError: both weights are 0.
        """
        super().__init__()
        reconstruction, local = weights
        self.weights = {"decoder": reconstruction, "local_loss": local} if parts.decoder else None
        self.terms = nn.ModuleDict()
        if parts.decoder and (reconstruction or parts.run_zero_weight):
            self.terms["decoder"] = Decoder(shape[0], chain.image_size, chain.dataset)
        if local or parts.run_zero_weight:
            self.terms["local_loss"] = LocalLoss(shape, chain.dataset.class_count, parts)
        if not self.terms:
            raise SpecError(f"a local module would have no loss: both its weights are 0 (weights: {parts.weights})")

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of the module's output (batch, channels, height, width)."""
        if self.weights is None:
            return self.terms["local_loss"](features, images, labels)
        return reduce(add, (self.weights[name] * term(features, images, labels) for name, term in self.terms.items()))
