"""DenseNet-BC for CIFAR, cut into units: stem, dense layers and transitions.

Source: Huang et al. 2017, section 3 (DenseNet-BC: bottleneck of four times the growth, compression 0.5).
"""

import torch
from torch import Tensor, nn

from bench.workloads.unit_names import densenet_units
from methods.chain import Chain, initialize_convolutions
from methods.datasets import Dataset, ImageSize, height_and_width

BOTTLENECK = 4
"""Width of the 1x1 convolution in growths."""


class DenseLayer(nn.Module):
    """Adds `growth` channels to its input: BN-ReLU-1x1, BN-ReLU-3x3, concatenated behind it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        width = BOTTLENECK * growth
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, growth, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, channels + growth, height, width)."""
        return torch.cat([features, self.layers(features)], dim=1)


def build_densenet(name: str, depth: int, growth: int, dataset: Dataset, image_size: ImageSize) -> Chain:
    """A DenseNet-BC as a chain of 1 + 3n + 2 units, n = (depth - 4) / 6 layers in each dense block.

    Args:
        name: network name.
        depth: 6n + 4.
        growth: channels that a dense layer adds.
        dataset: classes and normalisation.
        image_size: pixels.
    """
    channels = 2 * growth
    units: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    shapes = [(channels, *height_and_width(image_size))]
    for block in range(3):
        if block > 0:
            units.append(_make_transition(channels))
            channels //= 2
            shapes.append((channels, shapes[-1][1] // 2, shapes[-1][2] // 2))
        for _ in range((depth - 4) // 6):
            units.append(DenseLayer(channels, growth))
            channels += growth
            shapes.append((channels, *shapes[-1][1:]))
    chain = Chain(
        name=name,
        dataset=dataset,
        image_size=image_size,
        units=units,
        unit_names=densenet_units(depth),
        unit_shapes=shapes,
        head=nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, dataset.class_count),
        ),
    )
    initialize_convolutions(chain)
    return chain


def _make_transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels // 2, 1, bias=False),
        nn.AvgPool2d(2),
    )
