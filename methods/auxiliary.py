"""Auxiliary networks of local modules: heads that give a local loss, and the decoder that reconstructs the image.

Source: methods of InfoPro (ICLR 2021), appendix (Table 12) and released code; ContSup uses the same.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.api import Parts
from methods.chain import Chain
from methods.datasets import Dataset
from methods.losses import reconstruction_loss, supervised_contrastive_loss

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

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """Reconstruction loss of features (batch, channels, height, width) against normalised images."""
        if features.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            features = functional.interpolate(features, size, mode="bilinear", align_corners=True)
        return reconstruction_loss(self.layers(features), images, self.mean, self.std)


class Auxiliary(nn.Module):
    """The loss of one local module: reconstruction and local loss of its output, weighted.

    A network whose weight is exactly 0 is not built, unless the method runs it as the released code does.
    """

    def __init__(self, chain: Chain, shape: tuple[int, int, int], parts: Parts, weights: tuple[float, float]) -> None:
        """Build head and decoder.

        Args:
            chain: the backbone; gives classes, image size and normalisation.
            shape: (channels, height, width) of the module's output.
            parts: the method.
            weights: of reconstruction and of the local loss.
        """
        super().__init__()
        self.reconstruction_weight, self.local_weight = weights
        self.contrast = parts.local_loss == "contrast"
        self.reduction = parts.reduction
        outputs = EMBEDDING_SIZE if self.contrast else chain.dataset.class_count
        runs_decoder = parts.decoder and (self.reconstruction_weight != 0 or parts.run_zero_weight)
        runs_head = self.local_weight != 0 or parts.run_zero_weight
        self.decoder = Decoder(shape[0], chain.image_size, chain.dataset) if runs_decoder else None
        self.head = local_head(shape[0], shape[1], outputs, parts.head) if runs_head else None

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of the module's output (batch, channels, height, width)."""
        if self.decoder is None:
            loss = self._local_loss(features, labels)
            return loss if self.local_weight == 1 else self.local_weight * loss
        reconstruction = self.reconstruction_weight * self.decoder(features, images)
        if self.head is None:
            return reconstruction
        return reconstruction + self.local_weight * self._local_loss(features, labels)

    def _local_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        outputs = self.head(features)
        if self.contrast:
            return supervised_contrastive_loss(outputs, labels, reduction=self.reduction)
        return functional.cross_entropy(outputs, labels)

