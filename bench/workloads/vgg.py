"""VGG-11 with batch norm for CIFAR, cut into its eight convolutions.

Source: Simonyan and Zisserman 2015, configuration A; InfoPro (ICLR 2021) Table 14 trains it on CIFAR-10.
Departures (its details are unpublished): one linear layer replaces the three of ImageNet; convolutions have a bias, as
torchvision's.
"""

from torch import nn

from bench.workloads.unit_names import VGG11_UNITS
from methods.chain import Chain, initialize_convolutions
from methods.datasets import Dataset, ImageSize, height_and_width

WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)
POOLED = (0, 1, 3, 5, 7)
"""Convolutions with a 2x2 maximum pooling behind them."""


def build_vgg11(name: str, dataset: Dataset, image_size: ImageSize) -> Chain:
    """VGG-11-BN as a chain of 8 units, each a convolution with batch norm, ReLU and any pooling behind it.

    Args:
        name: network name.
        dataset: classes and normalisation.
        image_size: pixels, at least 32.
    """
    units: list[nn.Module] = []
    shapes = [(3, *height_and_width(image_size))]
    for index, width in enumerate(WIDTHS):
        channels, height, width_in_pixels = shapes[-1]
        pooling = [nn.MaxPool2d(2)] if index in POOLED else []
        units.append(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pooling
            )
        )
        halved = 2 if pooling else 1
        shapes.append((width, height // halved, width_in_pixels // halved))
    chain = Chain(
        name=name,
        dataset=dataset,
        image_size=image_size,
        units=units,
        unit_names=VGG11_UNITS,
        unit_shapes=shapes[1:],
        # Pooling to one pixel does nothing at 32 pixels, and lets larger images in.
        head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], dataset.class_count)),
    )
    initialize_convolutions(chain)
    return chain
