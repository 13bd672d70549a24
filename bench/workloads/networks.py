"""The networks by name. Imports torch only when one is built."""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from methods.datasets import DATASETS, Dataset

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
    dataset: Dataset
    """Dataset of the papers for this network."""
    image_size: int | None
    """Height and width in pixels; None: the dataset's."""
    build: "Callable[[Dataset, int], Chain]"
    """Chain for a dataset and an image size; imports torch."""


def cifar_resnet_units(depth: int) -> tuple[str, ...]:
    """Unit names of a CIFAR ResNet: `stem`, `layer1.0`, .. `layer3.n-1` with depth 6n+2."""
    blocks = range((depth - 2) // 6)
    return ("stem", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in blocks))


def _build_cifar_resnet(name: str, depth: int, dataset: Dataset, image_size: int) -> "Chain":
    from bench.workloads.resnet_cifar import build_resnet_cifar  # noqa: PLC0415 - torch only when a network is built

    return build_resnet_cifar(name, depth, dataset, image_size)


def _cifar_resnet(
    name: str, depth: int, dataset: Dataset = DATASETS["cifar10"], image_size: int | None = None
) -> Network:
    return Network(
        name=name,
        title=f"ResNet-{depth}",
        source="He et al. 2016, section 4.2; released InfoPro code",
        unit_names=cifar_resnet_units(depth),
        dataset=dataset,
        image_size=image_size,
        build=partial(_build_cifar_resnet, name, depth),
    )


NETWORKS: dict[str, Network] = {
    "resnet32": _cifar_resnet("resnet32", 32),
    "resnet110": _cifar_resnet("resnet110", 110),
    "resnet32@96": _cifar_resnet("resnet32", 32, DATASETS["stl10"], 96),
    "resnet110@96": _cifar_resnet("resnet110", 110, DATASETS["stl10"], 96),
}
"""By the name users write; `@96` is the same network on images of 96 pixels."""

_CIFAR_DEPTH = re.compile(r"cifar_resnet(\d+)")
SMALLEST_IMAGE = 4
"""Pixels; the third stage of a CIFAR ResNet halves them twice."""


def get_network(name: str) -> Network:
    """The network of this name, at `name@size` for images of that many pixels.

    Besides the names of `NETWORKS` there is a CIFAR ResNet of every depth 6n+2, as `cifar_resnet<depth>`.

    Raises:
        UnknownNetworkError: with the nearest name, or the depths and sizes that exist.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    base, at, size = name.partition("@")
    if at:
        if not size.isdecimal() or int(size) < SMALLEST_IMAGE:
            raise UnknownNetworkError(
                f"network '{name}': the image size behind @ is a whole number of pixels from {SMALLEST_IMAGE}"
            )
        return replace(get_network(base), image_size=int(size))
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
