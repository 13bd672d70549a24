"""A backbone as an ordered list of units plus a classifier head."""

from collections.abc import Sequence

from torch import Tensor, nn

from methods.datasets import Dataset


class Chain(nn.Module):
    """A backbone cut into units, the pieces that may not be split.

    Attributes:
        name: network name, such as `resnet110`.
        dataset: classes and normalisation of the images.
        image_size: height and width of the images in pixels.
        units: the units, applied one after the other to images (batch, 3, image_size, image_size).
        unit_names: a name per unit, such as `stem` or `layer2.3`.
        unit_shapes: output (channels, height, width) of every unit.
        head: turns the last unit's output into logits (batch, classes); always part of the last local module.
    """

    def __init__(
        self,
        *,
        name: str,
        dataset: Dataset,
        image_size: int,
        units: Sequence[nn.Module],
        unit_names: Sequence[str],
        unit_shapes: Sequence[tuple[int, int, int]],
        head: nn.Module,
    ) -> None:
        super().__init__()
        if not len(units) == len(unit_names) == len(unit_shapes) > 0:
            raise ValueError(
                f"a chain needs a name and a shape for each of its units "
                f"(units: {len(units)}, names: {len(unit_names)}, shapes: {len(unit_shapes)})"
            )
        self.name = name
        self.dataset = dataset
        self.image_size = image_size
        self.unit_names = tuple(unit_names)
        self.unit_shapes = tuple(unit_shapes)
        self.units = nn.ModuleList(units)
        self.head = head

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, height, width)."""
        features = images
        for unit in self.units:
            features = unit(features)
        return self.head(features)


def initialize_convolutions(network: nn.Module) -> None:
    """Draw every convolution's weight from Normal(0, sqrt(2 / (kernel height * kernel width * output channels))).

    The rule of the released InfoPro, ContSup and MLAAN networks, for backbone, auxiliary and context networks alike;
    biases, linear layers and batch norms keep torch's defaults.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
