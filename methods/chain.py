"""A backbone as an ordered list of units plus a classifier head."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from methods.datasets import Dataset, ImageSize, height_and_width

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scalar loss of (logits, labels)."""
Shape = tuple[int, int, int]
"""(channels, height, width) of one image or feature map."""


class Chain(nn.Module):
    """A backbone cut into units, the pieces that may not be split.

    Attributes:
        name: network name, such as `resnet110`.
        dataset: classes and normalisation of the images.
        image_shape: (3, height, width) of one image.
        units: the units, applied one after the other to images (batch, 3, height, width).
        unit_names: a name per unit, such as `stem` or `layer2.3`.
        unit_shapes: output (channels, height, width) of every unit.
        head: turns the last unit's output into logits, (batch, classes) or for segmentation (batch, classes, height,
            width); always part of the last local module.
        loss: the network's loss of logits and labels; cross-entropy that skips the dataset's ignored label.
        extra_losses: deep supervision, by unit index: maps the unit's output and the labels to a weighted scalar, which
            is added to the loss of the unit's local module. Used in training alone.
    """

    def __init__(
        self,
        *,
        name: str,
        dataset: Dataset,
        image_size: ImageSize,
        units: Sequence[nn.Module],
        unit_names: Sequence[str],
        unit_shapes: Sequence[Shape],
        head: nn.Module,
        loss: Loss | None = None,
        extra_losses: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not len(units) == len(unit_names) == len(unit_shapes) > 0:
            raise ValueError(
                f"a chain needs a name and a shape for each of its units "
                f"(units: {len(units)}, names: {len(unit_names)}, shapes: {len(unit_shapes)})"
            )
        self.name = name
        self.dataset = dataset
        self.image_shape = (3, *height_and_width(image_size))
        self.unit_names = tuple(unit_names)
        self.unit_shapes = tuple(unit_shapes)
        self.units = nn.ModuleList(units)
        self.head = head
        self.loss = loss or cross_entropy_of(dataset)
        self.extra_losses = nn.ModuleDict({str(unit): extra for unit, extra in (extra_losses or {}).items()})

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (batch, 3, height, width)."""
        features = images
        for unit in self.units:
            features = unit(features)
        return self.head(features)


def shape_behind(shape: Shape, channels: int, stride: int) -> Shape:
    """Shape behind a convolution or pooling of this stride whose padding keeps the size at stride 1."""
    _, height, width = shape
    return (channels, -(-height // stride), -(-width // stride))


def cross_entropy_of(dataset: Dataset) -> Loss:
    """Mean cross-entropy over images, or over pixels that have a label."""
    return partial(functional.cross_entropy, ignore_index=dataset.ignored_label)


def initialize_convolutions(network: nn.Module) -> None:
    """Draw every convolution's weight from Normal(0, sqrt(2 / (kernel height * kernel width * output channels))).

    The rule of the released InfoPro, ContSup and MLAAN networks, for backbone, auxiliary and context networks alike,
    and of torchvision's ResNets; biases, linear layers and batch norms keep torch's defaults.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
