"""The datasets of the papers: image size, classes and normalisation. Imports no torch."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

ImageSize = int | tuple[int, int]
"""Pixels: the side of a square, or (height, width)."""


def height_and_width(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) of an image size."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def write_image_size(image_size: ImageSize) -> str:
    """An image size as users write it: `96`, `512x1024`."""
    return str(image_size) if isinstance(image_size, int) else "x".join(map(str, image_size))


class UnknownDatasetError(ValueError):
    """A dataset name that is not in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a network and its losses need to know of the images they see."""

    name: str
    """Name on the command line and in records, such as `cifar10`."""
    title: str
    """Name in tables and messages, such as `CIFAR-10`."""
    image_size: ImageSize
    """Size of the images a network is trained on."""
    class_count: int
    """Number of classes; labels run from 0 to `class_count - 1`."""
    mean: tuple[float, float, float]
    """Subtracted from red, green and blue, with pixels in [0, 1]."""
    std: tuple[float, float, float]
    """What red, green and blue are divided by after that."""
    train_count: int
    """Images of the split the papers train on."""
    auxiliaries: Literal["cifar", "imagenet", "cityscapes"] = "cifar"
    """Whose published heads and decoders serve it, see `methods/heads.py` and `methods/decoders.py`."""
    label_per_pixel: bool = False
    """Segmentation: labels (batch, height, width) instead of (batch,)."""
    ignored_label: int = -100
    """Label without loss; torch's default, which no dataset of one label per image uses."""


DATASETS: dict[str, Dataset] = {
    "cifar10": Dataset(
        name="cifar10",
        title="CIFAR-10",
        image_size=32,
        class_count=10,
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
        std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
        train_count=50_000,
    ),
    # The train split alone: the papers leave the 531,131 extra images out.
    "svhn": Dataset(
        name="svhn",
        title="SVHN",
        image_size=32,
        class_count=10,
        mean=(127.5 / 255, 127.5 / 255, 127.5 / 255),
        std=(127.5 / 255, 127.5 / 255, 127.5 / 255),
        train_count=73_257,
    ),
    # The labelled images alone.
    "stl10": Dataset(
        name="stl10",
        title="STL-10",
        image_size=96,
        class_count=10,
        mean=(127.5 / 255, 127.5 / 255, 127.5 / 255),
        std=(127.5 / 255, 127.5 / 255, 127.5 / 255),
        train_count=5_000,
    ),
    "imagenet": Dataset(
        name="imagenet",
        title="ImageNet",
        image_size=224,
        class_count=1000,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        train_count=1_281_167,
        auxiliaries="imagenet",
    ),
    # The finely annotated images; crops, not whole images of 1024x2048.
    "cityscapes": Dataset(
        name="cityscapes",
        title="Cityscapes",
        image_size=(512, 1024),
        class_count=19,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        train_count=2_975,
        auxiliaries="cityscapes",
        label_per_pixel=True,
        ignored_label=255,
    ),
}


def get_dataset(name: str) -> Dataset:
    """The dataset of this name.

    Raises:
        UnknownDatasetError: no dataset has it; the message names the closest one and all there are.
    """
    if name in DATASETS:
        return DATASETS[name]
    close = get_close_matches(name.lower(), DATASETS, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise UnknownDatasetError(f"unknown dataset '{name}': {hint}there are {', '.join(DATASETS)}")
