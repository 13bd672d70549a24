"""DeepLabV3 on ResNet-101 with output stride 8, cut into units, for segmentation.

The stages are torchvision's, with dilation instead of stride in the last two; stem, main head and deep supervision are
those of mmsegmentation's `deeplabv3_r101-d8`, which InfoPro trains on Cityscapes. The main head pools features at five
rates (ASPP). The fully convolutional head behind stage 3 belongs to the ordinary end-to-end loss with weight 0.4.

Source: Chen et al. 2017, arXiv 1706.05587; InfoPro (ICLR 2021) section 4.2 and its released configuration.
Departures: weights are drawn, not pretrained; batch norm is that of one device (released: synchronised).
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from bench.workloads.resnet_imagenet import find_shapes, list_blocks
from methods.chain import Chain, Loss, cross_entropy_of, initialize_convolutions
from methods.datasets import Dataset, ImageSize, height_and_width

HEAD_WIDTH = 512
DILATIONS = (12, 24, 36)
SUPERVISION_WIDTH = 256
SUPERVISION_WEIGHT = 0.4
SUPERVISED_UNIT = "layer3.22"
DROPOUT = 0.1


def convolution(in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size where the stride is 1, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def make_stem() -> nn.Sequential:
    """Three 3x3 convolutions and a pooling: images to (batch, 64, height / 4, width / 4)."""
    return nn.Sequential(
        convolution(3, 32, 3, stride=2), convolution(32, 32, 3), convolution(32, 64, 3), nn.MaxPool2d(3, 2, padding=1)
    )


class Classifier(nn.Module):
    """Class of every pixel: channel dropout, a 1x1 convolution, and bilinear resizing to the image."""

    def __init__(self, channels: int, class_count: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.dropout = nn.Dropout2d(DROPOUT)
        self.convolution = nn.Conv2d(channels, class_count, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, h, w) to logits (batch, class_count, *size)."""
        logits = self.convolution(self.dropout(features))
        return functional.interpolate(logits, self.size, mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """ASPP: the whole image's mean, a 1x1 and three dilated 3x3 convolutions side by side, merged by a 3x3."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), convolution(channels, width, 1))
        self.branches = nn.ModuleList(
            [
                convolution(channels, width, 1),
                *(convolution(channels, width, 3, dilation=dilation) for dilation in DILATIONS),
            ]
        )
        self.merge = convolution(width * (2 + len(DILATIONS)), width, 3)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, width, height, width)."""
        pooled = functional.interpolate(
            self.pooled(features), features.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.merge(torch.cat([pooled, *(branch(features) for branch in self.branches)], dim=1))


class Supervision(nn.Module):
    """Deep supervision: the weighted loss of a small fully convolutional head."""

    def __init__(self, channels: int, class_count: int, size: tuple[int, int], loss: Loss) -> None:
        super().__init__()
        self.head = nn.Sequential(
            convolution(channels, SUPERVISION_WIDTH, 3), Classifier(SUPERVISION_WIDTH, class_count, size)
        )
        self.loss = loss

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Weighted loss of features (batch, channels, h, w) and labels (batch, height, width)."""
        return SUPERVISION_WEIGHT * self.loss(self.head(features), labels)


def build_deeplab(name: str, unit_names: tuple[str, ...], dataset: Dataset, image_size: ImageSize) -> Chain:
    """DeepLabV3-ResNet-101 as a chain of 34 units.

    Args:
        name: network name.
        unit_names: names of the stem and of every block.
        dataset: classes, normalisation and the label without loss; a label per pixel.
        image_size: pixels.
    """
    backbone = torchvision.models.resnet101(replace_stride_with_dilation=[False, True, True])
    size, classes = height_and_width(image_size), dataset.class_count
    supervision = Supervision(1024, classes, size, cross_entropy_of(dataset))
    blocks = list_blocks(backbone)
    chain = Chain(
        name=name,
        dataset=dataset,
        image_size=image_size,
        units=[make_stem(), *blocks],
        unit_names=unit_names,
        unit_shapes=find_shapes(blocks, image_size),
        head=nn.Sequential(PyramidPooling(2048, HEAD_WIDTH), Classifier(HEAD_WIDTH, classes, size)),
        extra_losses={unit_names.index(SUPERVISED_UNIT): supervision},
    )
    initialize_convolutions(chain)
    return chain
