"""torchvision's ResNets and ResNeXt, cut into units: the chain's units are torchvision's own modules.

Source: He et al. 2016 and Xie et al. 2017, as torchvision builds them (stride in the 3x3 convolution of a bottleneck).
"""

from typing import cast

import torchvision
from torch import nn
from torchvision.models import ResNet

from methods.chain import Chain, Shape, shape_behind
from methods.datasets import Dataset, ImageSize, height_and_width


def build_resnet_imagenet(name: str, unit_names: tuple[str, ...], dataset: Dataset, image_size: ImageSize) -> Chain:
    """A residual network of torchvision as a chain: its stem with pooling, then one unit per block.

    Args:
        name: torchvision's name, such as `resnet101` or `resnext101_32x8d`.
        unit_names: names of the stem and of every block.
        dataset: classes and normalisation.
        image_size: pixels.
    """
    network = cast("ResNet", torchvision.models.get_model(name, num_classes=dataset.class_count))
    blocks = list_blocks(network)
    return Chain(
        name=name,
        dataset=dataset,
        image_size=image_size,
        units=[nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool), *blocks],
        unit_names=unit_names,
        unit_shapes=find_shapes(blocks, image_size),
        head=nn.Sequential(network.avgpool, nn.Flatten(), network.fc),
    )


def list_blocks(network: ResNet) -> list[nn.Module]:
    """The residual blocks of all four stages, in order."""
    return [*network.layer1, *network.layer2, *network.layer3, *network.layer4]


def find_shapes(blocks: list[nn.Module], image_size: ImageSize) -> list[Shape]:
    """Output shapes of the stem, which halves the image twice to 64 channels, and of every block.

    Width and size change only where a block projects its input.
    """
    image = (3, *height_and_width(image_size))
    shapes = [shape_behind(shape_behind(image, 64, 2), 64, 2)]
    for block in blocks:
        shape = shapes[-1]
        if isinstance(block.downsample, nn.Sequential):
            projection = cast("nn.Conv2d", block.downsample[0])
            shape = shape_behind(shape, projection.out_channels, projection.stride[0])
        shapes.append(shape)
    return shapes
