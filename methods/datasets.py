"""The datasets of the papers: image size, classes and normalisation. Imports no torch."""

from dataclasses import dataclass
from difflib import get_close_matches


class UnknownDatasetError(ValueError):
    """A dataset name that is not in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a network and its losses need to know of the images they see."""

    name: str
    """Name on the command line and in records, such as `cifar10`."""
    title: str
    """Name in tables and messages, such as `CIFAR-10`."""
    image_size: int
    """Height and width of the images in pixels."""
    class_count: int
    """Number of classes; labels run from 0 to `class_count - 1`."""
    mean: tuple[float, float, float]
    """Subtracted from red, green and blue, with pixels in [0, 1]."""
    std: tuple[float, float, float]
    """What red, green and blue are divided by after that."""
    train_count: int
    """Images of the split the papers train on."""


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
