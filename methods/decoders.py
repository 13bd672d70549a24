"""Decoders: from a module's output to the image it was made of, as pixels in (0, 1).

On CIFAR-10, SVHN and STL-10 one bilinear upsampling and two 3x3 convolutions; on ImageNet and Cityscapes an upsampling
by two and a convolution at every size up to the image's.

Source: InfoPro (ICLR 2021), appendix and released code.
"""

from torch import nn

from methods.chain import Shape
from methods.datasets import Dataset
from methods.heads import widened

_SMALL_WIDTH = 12
_FIRST_WIDTH = 128
_WIDTHS = {1: 3, 2: 12, 4: 32, 8: 64, 16: 128}
"""How much smaller than the image a size is -> channels of the convolution there."""


def make_decoder(shape: Shape, *, dataset: Dataset, image_shape: Shape, widen: float = 1.0) -> nn.Sequential:
    """The decoder of a local module.

    Args:
        shape: (channels, height, width) of the module's output.
        dataset: decides whose decoder is meant.
        image_shape: (3, height, width) of the images.
        widen: factor on hidden widths, each truncated to a whole number.

    Returns:
        Network from (batch, *shape) to (batch, *image_shape), in (0, 1).
    """
    if dataset.auxiliaries == "cifar":
        return _small_decoder(shape, image_shape, widened(_SMALL_WIDTH, widen))
    return _stepwise_decoder(shape, image_shape, widen)


def _small_decoder(shape: Shape, image_shape: Shape, width: int) -> nn.Sequential:
    return nn.Sequential(
        *_upsampling(shape[1:], image_shape[1:]),
        nn.Conv2d(shape[0], width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 3, 3, padding=1),
        nn.Sigmoid(),
    )


def _stepwise_decoder(shape: Shape, image_shape: Shape, widen: float) -> nn.Sequential:
    """1x1 to 128 channels, then a 3x3 behind every upsampling by two.

    Published for an eighth of the image; widths at other sizes are our choice.
    """
    channels, *size = shape
    width = widened(_FIRST_WIDTH, widen)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
    scales = [scale for scale in reversed(_WIDTHS) if -(-image_shape[1] // scale) > size[0]] or [1]
    for scale in scales:
        larger = [-(-side // scale) for side in image_shape[1:]]
        layers += _upsampling(size, larger)
        if scale == 1:
            break
        narrower = widened(_WIDTHS[scale], widen)
        layers += [nn.Conv2d(width, narrower, 3, padding=1), nn.BatchNorm2d(narrower), nn.ReLU()]
        size, width = larger, narrower
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Sigmoid())


def _upsampling(size: tuple[int, ...] | list[int], larger: tuple[int, ...] | list[int]) -> list[nn.Module]:
    """Bilinear upsampling between (height, width); nothing where they are equal."""
    if tuple(size) == tuple(larger):
        return []
    return [nn.Upsample(size=(larger[0], larger[1]), mode="bilinear", align_corners=True)]
