"""Heads of local modules: small networks from a module's output to logits, or to an embedding.

Each dataset has the heads its papers used: CIFAR-10, SVHN and STL-10 a family `<convolutions>c<linear layers>f`, and
DGL's own; ImageNet and Cityscapes one each, which is what `1c2f`, the default, means there.

Source: InfoPro (ICLR 2021), appendix (Table 12) and released code; ContSup uses the same. DGL: Belilovsky et al. 2020,
released code; AugLocal's re-implementation of it.
"""

from torch import nn

from methods.chain import Shape
from methods.datasets import Dataset
from methods.spec import SpecError

EMBEDDING_SIZE = 128
"""Width of hidden linear layers and of contrastive embeddings."""
_CONVOLUTIONS = {16: (2, 32), 32: (2, 64), 64: (1, 64)}
"""Channels a head reads -> stride and output channels of its first convolution, in CIFAR ResNets."""
_DGL_HEADS = ("mlp-sr", "mlp", "cnn", "auglocal")
_SEGMENTATION_WIDTH = 512
_SEGMENTATION_DROPOUT = 0.1


def make_head(
    shape: Shape, outputs: int, config: str, *, dataset: Dataset, image_shape: Shape, widen: float = 1.0
) -> nn.Sequential:
    """The head of a local module.

    Args:
        shape: (channels, height, width) of the module's output.
        outputs: classes (softmax) or embedding size (contrast).
        config: such as `1c2f` or `mlp-sr`.
        dataset: decides whose heads are meant.
        image_shape: (3, height, width) of the images.
        widen: factor on widths, each truncated to a whole number.

    Returns:
        Network from (batch, *shape) to (batch, outputs); for segmentation to (batch, outputs, image height, width).

    Raises:
        SpecError: the dataset has no such head, or the head no widths to widen.
    """
    if dataset.auxiliaries == "cityscapes":
        return _segmentation_head(shape, outputs, config, image_shape, widen)
    if config in _DGL_HEADS:
        if widen != 1:
            raise SpecError(f"head {config} has the module's own width: it cannot be widened (widen: {widen:g})")
        return dgl_head(shape, outputs, config)
    if dataset.auxiliaries == "imagenet" and config == "1c2f":
        return imagenet_head(shape, outputs, image_shape, widen)
    if dataset.auxiliaries == "imagenet" and not config.startswith("0c"):
        raise SpecError(f"head {config} is of small images; {dataset.title} has 0c1f, 0c2f, 1c2f and DGL's")
    return local_head(shape, outputs, config, widen)


def local_head(shape: Shape, outputs: int, config: str, widen: float = 1.0) -> nn.Sequential:
    """A head such as `1c2f`: convolutions with batch norm and ReLU, global average pooling, linear layers."""
    channels, height, _ = shape
    convolutions, linears = int(config[0]), int(config[2])
    layers: list[nn.Module] = []
    stride, width = _CONVOLUTIONS.get(channels) or _convolution_by_size(height)
    for _ in range(convolutions):
        layers += _convolution(channels, widened(width, widen), 3, stride)
        channels, stride = widened(width, widen), 1
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for _ in range(linears - 1):
        hidden = widened(EMBEDDING_SIZE, widen)
        layers += [nn.Linear(channels, hidden), nn.ReLU(inplace=True)]
        channels = hidden
    return nn.Sequential(*layers, nn.Linear(channels, outputs))


def _convolution_by_size(height: int) -> tuple[int, int]:
    """The CIFAR ResNet's rule read by feature-map size, for networks with other widths (our choice)."""
    if height >= 32:  # noqa: PLR2004 - first stage of a CIFAR network
        return (2, 32)
    return (2, 64) if height > 8 else (1, 64)  # noqa: PLR2004 - last stage


def imagenet_head(shape: Shape, outputs: int, image_shape: Shape, widen: float = 1.0) -> nn.Sequential:
    """1x1 to 128 channels, 3x3 with stride 2 and doubled width (at most 512) until a 32nd of the image, 1x1 to 2048.

    Published for features of 512x28x28; for others the same rule (our choice).
    """
    channels, height, _ = shape
    narrow = 128
    layers = _convolution(channels, widened(narrow, widen), 1)
    while height > -(-image_shape[1] // 32):
        wide = min(2 * narrow, 512)
        layers += _convolution(widened(narrow, widen), widened(wide, widen), 3, stride=2)
        narrow, height = wide, -(-height // 2)
    layers += _convolution(widened(narrow, widen), widened(2048, widen), 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widened(2048, widen), outputs))


def _segmentation_head(shape: Shape, outputs: int, config: str, image_shape: Shape, widen: float) -> nn.Sequential:
    """3x3 convolution, channel dropout, class of every pixel, resized to the image; `0c1f` has the classifier alone."""
    channels = shape[0]
    resize = nn.Upsample(size=image_shape[1:], mode="bilinear", align_corners=True)
    if config == "0c1f":
        return nn.Sequential(nn.Conv2d(channels, outputs, 1), resize)
    if config != "1c2f":
        raise SpecError(f"head {config} gives one label per image; segmentation has 0c1f and 1c2f")
    width = widened(_SEGMENTATION_WIDTH, widen)
    return nn.Sequential(
        # The released code leaves the bias on, in front of batch norm.
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout2d(_SEGMENTATION_DROPOUT),
        nn.Conv2d(width, outputs, 1),
        resize,
    )


def dgl_head(shape: Shape, outputs: int, config: str) -> nn.Sequential:
    """DGL's own heads, pooled to 2x2 before their linear layers.

    `mlp-sr`: pooled to a quarter of the size, three 1x1 convolutions, three hidden linear layers; `mlp`: without the
    convolutions; `auglocal`: AugLocal's `mlp-sr`, two hidden layers without bias; `cnn`: two 3x3 convolutions at full
    size and one linear layer.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    if config == "cnn":
        layers += _convolution(channels, channels, 3) + _convolution(channels, channels, 3)
    elif config != "mlp":
        layers.append(nn.AdaptiveAvgPool2d((-(-height // 4), -(-width // 4))))
        for _ in range(3):
            layers += _convolution(channels, channels, 1)
    layers.append(nn.AdaptiveAvgPool2d(2))
    hidden = 4 * channels
    if config == "cnn":
        return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.Flatten(), nn.Linear(hidden, outputs))
    layers.append(nn.Flatten())
    bias = config != "auglocal"
    for _ in range(3 if bias else 2):
        layers += [nn.Linear(hidden, hidden, bias=bias), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


def _convolution(in_channels: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


def widened(width: int, widen: float) -> int:
    """A width times the factor, truncated; at least 1."""
    return max(1, int(width * widen))
