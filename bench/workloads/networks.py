"""The networks by name. Imports torch only when one is built."""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from bench.workloads.unit_names import VGG11_UNITS, densenet_units, staged_units
from methods.api import Parts
from methods.datasets import DATASETS, Dataset, ImageSize
from methods.greedy import matching_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from methods.chain import Chain


class UnknownNetworkError(ValueError):
    """A network name that is not in the table and of no known form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A backbone by name: its units, the dataset it is tried on by default, and how to build it."""

    name: str
    title: str
    """Name in prose, such as `ResNet-110`."""
    source: str
    unit_names: tuple[str, ...]
    parameter_count: int | None
    """Parameters of units and head (not of extra losses) for the classes of `dataset`; None: not in the table."""
    dataset: Dataset
    """Dataset of the papers for this network."""
    image_size: ImageSize | None = None
    """Pixels; None: the dataset's."""
    smallest_image: int
    """Least side in pixels; what its pooling and strides leave something of."""
    build: "Callable[[Dataset, ImageSize], Chain]"
    """Chain for a dataset and an image size; imports torch."""
    blocks: tuple[int, ...] | None = None
    """Of each stage of a CIFAR ResNet, which methods may deepen; None: another kind of network."""

    def image_size_on(self, dataset: Dataset) -> ImageSize:
        """Pixels of the images it is fed: its own size, else the dataset's."""
        return self.image_size or dataset.image_size


def _build_cifar_resnet(name: str, blocks: tuple[int, ...], dataset: Dataset, image_size: ImageSize) -> "Chain":
    from bench.workloads.resnet_cifar import build_resnet_cifar  # noqa: PLC0415 - torch only when a network is built

    return build_resnet_cifar(name, blocks, dataset, image_size)


def _build_densenet(name: str, depth: int, growth: int, dataset: Dataset, image_size: ImageSize) -> "Chain":
    from bench.workloads.densenet import build_densenet  # noqa: PLC0415 - as above

    return build_densenet(name, depth, growth, dataset, image_size)


def _build_vgg11(name: str, dataset: Dataset, image_size: ImageSize) -> "Chain":
    from bench.workloads.vgg import build_vgg11  # noqa: PLC0415 - as above

    return build_vgg11(name, dataset, image_size)


def _build_resnet(name: str, unit_names: tuple[str, ...], dataset: Dataset, image_size: ImageSize) -> "Chain":
    from bench.workloads.resnet_imagenet import build_resnet_imagenet  # noqa: PLC0415 - as above

    return build_resnet_imagenet(name, unit_names, dataset, image_size)


def _build_deeplab(name: str, unit_names: tuple[str, ...], dataset: Dataset, image_size: ImageSize) -> "Chain":
    from bench.workloads.deeplab import build_deeplab  # noqa: PLC0415 - as above

    return build_deeplab(name, unit_names, dataset, image_size)


def _cifar_resnet(name: str, depth: int, parameter_count: int | None = None) -> Network:
    blocks = ((depth - 2) // 6,) * 3
    return Network(
        name=name,
        title=f"ResNet-{depth}",
        source="He et al. 2016, section 4.2; released InfoPro code",
        unit_names=staged_units(blocks),
        parameter_count=parameter_count,
        dataset=DATASETS["cifar10"],
        smallest_image=4,
        build=partial(_build_cifar_resnet, name, blocks),
        blocks=blocks,
    )


def _resnet(
    name: str, title: str, blocks: tuple[int, ...], parameter_count: int, source: str = "He et al. 2016"
) -> Network:
    unit_names = staged_units(blocks)
    return Network(
        name=name,
        title=title,
        source=f"{source}; torchvision",
        unit_names=unit_names,
        parameter_count=parameter_count,
        dataset=DATASETS["imagenet"],
        smallest_image=32,
        build=partial(_build_resnet, name, unit_names),
    )


def _on_stl10(network: Network) -> Network:
    return replace(network, dataset=DATASETS["stl10"], image_size=96)


_RESNET32, _RESNET110 = _cifar_resnet("resnet32", 32, 466_906), _cifar_resnet("resnet110", 110, 1_730_714)

NETWORKS: dict[str, Network] = {
    "resnet32": _RESNET32,
    "resnet110": _RESNET110,
    "resnet32@96": _on_stl10(_RESNET32),
    "resnet110@96": _on_stl10(_RESNET110),
    "densenet_bc_100_12": Network(
        name="densenet_bc_100_12",
        title="DenseNet-BC-100-12",
        source="Huang et al. 2017",
        unit_names=densenet_units(100),
        parameter_count=769_162,
        dataset=DATASETS["cifar10"],
        smallest_image=4,
        build=partial(_build_densenet, "densenet_bc_100_12", 100, 12),
    ),
    "vgg11_bn": Network(
        name="vgg11_bn",
        title="VGG-11-BN",
        source="Simonyan and Zisserman 2015; InfoPro (ICLR 2021) Table 14",
        unit_names=VGG11_UNITS,
        parameter_count=9_231_114,
        dataset=DATASETS["cifar10"],
        smallest_image=32,
        build=partial(_build_vgg11, "vgg11_bn"),
    ),
    "resnet34": _resnet("resnet34", "ResNet-34", (3, 4, 6, 3), 21_797_672),
    "resnet50": _resnet("resnet50", "ResNet-50", (3, 4, 6, 3), 25_557_032),
    "resnet101": _resnet("resnet101", "ResNet-101", (3, 4, 23, 3), 44_549_160),
    "resnet152": _resnet("resnet152", "ResNet-152", (3, 8, 36, 3), 60_192_808),
    "resnext101_32x8d": _resnet("resnext101_32x8d", "ResNeXt-101", (3, 4, 23, 3), 88_791_336, "Xie et al. 2017"),
    "deeplabv3_resnet101": Network(
        name="deeplabv3_resnet101",
        title="DeepLabV3-ResNet-101",
        source="Chen et al. 2017; mmsegmentation's deeplabv3_r101-d8",
        unit_names=staged_units((3, 4, 23, 3)),
        parameter_count=84_740_467,
        dataset=DATASETS["cityscapes"],
        smallest_image=32,
        build=partial(_build_deeplab, "deeplabv3_resnet101", staged_units((3, 4, 23, 3))),
    ),
}
"""By the name users write; `@96` is the same network on images of 96 pixels, `@512x1024` on images of that height and
width."""

_CIFAR_DEPTH = re.compile(r"cifar_resnet(\d+)")
_SIZE = re.compile(r"(\d+)(?:x(\d+))?")


def get_network(name: str) -> Network:
    """The network of this name, at `name@size` or `name@heightxwidth` for images of that many pixels.

    Besides the names of `NETWORKS` there is a CIFAR ResNet of every depth 6n+2, as `cifar_resnet<depth>`.

    Raises:
        UnknownNetworkError: with the nearest name, or the depths and sizes that exist.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    base, at, size = name.partition("@")
    if at:
        network = get_network(base)
        return replace(network, image_size=_read_size(name, size, network.smallest_image))
    match = _CIFAR_DEPTH.fullmatch(name)
    if match:
        depth = int(match[1])
        if depth < 8 or depth % 6 != 2:  # noqa: PLR2004 - depth 6n+2 with n >= 1
            below = max(8, depth - (depth - 2) % 6)
            raise UnknownNetworkError(
                f"a CIFAR ResNet has depth 6n+2, not {depth}: try cifar_resnet{below} or cifar_resnet{below + 6}"
            )
        return _cifar_resnet(name, depth)
    close = get_close_matches(name, NETWORKS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(NETWORKS)} and cifar_resnet<6n+2>"
    raise UnknownNetworkError(f"unknown network '{name}': {hint}")


def network_for(parts: Parts, name: str, module_count: int, image_size: ImageSize | None = None) -> Network:
    """The network that a method trains where this one is asked for: itself, or a deeper one.

    Args:
        parts: the method.
        name: of the network.
        module_count: K, on which the depth depends.
        image_size: pixels; None: its own.

    Raises:
        UnknownNetworkError: no network has this name, or the method deepens CIFAR ResNets and it is none.
        SplitError: it has no K modules.
    """
    network = get_network(name)
    if not parts.deeper:
        return network
    if network.blocks is None:
        raise UnknownNetworkError(
            f"this method adds blocks to a CIFAR ResNet, {network.title} is none: use resnet110, resnet32 or "
            "cifar_resnet<6n+2>, or 'greedy'"
        )
    blocks = matching_blocks(network.blocks, image_size or network.image_size_on(network.dataset), module_count)
    if blocks == network.blocks:
        return network
    added = sum(blocks) - sum(network.blocks)
    title = f"{network.title} with {added} more block{'s' if added > 1 else ''}"
    build = partial(_build_cifar_resnet, f"{network.name}, {added} more", blocks)
    return replace(
        network, title=title, unit_names=staged_units(blocks), blocks=blocks, parameter_count=None, build=build
    )


def _read_size(name: str, text: str, smallest: int) -> ImageSize:
    """`96` or `512x1024`; a square is its side, however it is written."""
    match = _SIZE.fullmatch(text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(height, width) < smallest:
        raise UnknownNetworkError(
            f"network '{name}': the image size behind @ is a whole number of pixels from {smallest}, "
            "or a height and a width such as 512x1024"
        )
    return height if height == width else (height, width)
