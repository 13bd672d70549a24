"""CIFAR-style ResNets of any number of blocks per stage, cut into units.

Source: He et al. 2016, section 4.2, in the form of the released InfoPro code: 1x1 projection shortcuts where the width
changes, a 3x3 stem without pooling.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.workloads.unit_names import staged_units
from methods.chain import Chain, initialize_convolutions, shape_behind
from methods.datasets import Dataset, ImageSize, height_and_width

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the (projected) input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, size, size) to (batch, channels, size / stride, size / stride)."""
        output = self.relu(self.bn1(self.conv1(features)))
        output = self.bn2(self.conv2(output))
        output += self.shortcut(features)
        return self.relu(output)


def build_resnet_cifar(name: str, blocks: Sequence[int], dataset: Dataset, image_size: ImageSize) -> Chain:
    """A CIFAR ResNet as a chain of a stem and its blocks.

    Args:
        name: network name.
        blocks: of each of the three stages; n each for depth 6n+2.
        dataset: classes and normalisation.
        image_size: pixels.
    """
    units: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)
        )
    ]
    shapes = [(WIDTHS[0], *height_and_width(image_size))]
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            units.append(BasicBlock(shapes[-1][0], width, stride))
            shapes.append(shape_behind(shapes[-1], width, stride))
    chain = Chain(
        name=name,
        dataset=dataset,
        image_size=image_size,
        units=units,
        unit_names=staged_units(blocks),
        unit_shapes=shapes,
        head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], dataset.class_count)),
    )
    initialize_convolutions(chain)
    return chain
