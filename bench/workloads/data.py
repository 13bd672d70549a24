"""The images a step is fed: synthetic batches, and the real datasets with the papers' augmentation."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from methods.datasets import Dataset, ImageSize, UnknownDatasetError, height_and_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchvision.datasets import VisionDataset


class DataRootError(FileNotFoundError):
    """A data root that lacks files of a dataset, or holds damaged ones."""


def synthetic_batch(
    dataset: Dataset, image_size: ImageSize, batch_size: int, device: torch.device | str, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """One batch of random images, normalised as real ones are, with random labels.

    Drawn on the CPU by a generator of its own: a seed gives the same batch on every device, and torch's global
    generators stay where they were.

    Args:
        dataset: classes and normalisation.
        image_size: pixels; may differ from the dataset's.
        batch_size: number of images.
        device: where the batch is put; on `meta` it has shapes and no data.
        seed: of pixels and labels.

    Returns:
        Images, float32, (batch, 3, height, width), uniform in [0, 1] before normalisation; labels, int64, (batch,), or
        (batch, height, width) for segmentation, from 0 to `class_count - 1`.
    """
    pixels = height_and_width(image_size)
    shape = (batch_size, 3, *pixels)
    label_shape = (batch_size, *(pixels if dataset.label_per_pixel else ()))
    if torch.device(device).type == "meta":
        return (
            torch.empty(shape, dtype=torch.float32, device=device),
            torch.empty(label_shape, dtype=torch.int64, device=device),
        )
    generator = torch.Generator("cpu").manual_seed(seed)
    images = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
    labels = torch.randint(dataset.class_count, label_shape, generator=generator, device="cpu")
    mean, std = (images.new_tensor(values)[:, None, None] for values in (dataset.mean, dataset.std))
    return images.sub_(mean).div_(std).to(device), labels.to(device)


def synthetic_features(
    shape: tuple[int, int, int], batch_size: int, device: torch.device | str, seed: int = 0
) -> Tensor:
    """Random stored outputs of a finished module, float32, (batch, *shape), uniform in [0, 1], drawn as images are."""
    if torch.device(device).type == "meta":
        return torch.empty(batch_size, *shape, device=device)
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.rand(batch_size, *shape, generator=generator, device="cpu").to(device)


def training_loader(
    dataset: Dataset, root: Path | str, batch_size: int, workers: int = 0, seed: int = 0
) -> DataLoader[tuple[Tensor, int]]:
    """Batches of real training images, shuffled, augmented and normalised as in the papers; downloads nothing.

    The seed always decides the order of every epoch. It decides crops and flips only with workers, whose own seeds are
    drawn from it; another number of workers gives other crops. With `workers=0` torchvision draws crops and flips from
    torch's global generator, which `torch.manual_seed` sets. The last batch of an epoch holds what is left over.

    Args:
        dataset: one of `methods.datasets.DATASETS`.
        root: folder that holds the unpacked dataset; `~` is the home folder.
        batch_size: images per batch.
        workers: processes that load; 0 loads in the process of the step.
        seed: of the whole run of epochs, as far as said above.

    Returns:
        A loader of images, float32, (batch, 3, image_size, image_size), and labels, int64, (batch,).

    Raises:
        DataRootError: files are missing or damaged; the message names them and says what to put where.
        UnknownDatasetError: there are no real images of this dataset.
    """
    sources = _sources()
    if dataset.name not in sources:
        raise UnknownDatasetError(f"no real images of dataset '{dataset.name}': there are {', '.join(sources)}")
    return DataLoader(
        _open_images(dataset, sources[dataset.name], Path(root).expanduser()),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator("cpu").manual_seed(seed),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where the training images of a dataset come from, and how the papers augment them."""

    open: "Callable[..., VisionDataset[tuple[Tensor, int]]]"
    """Reads the images under a data root, given a `transform` from PIL image to tensor, and their labels."""
    url: str
    """What the dataset's authors publish: an archive, or the one file itself."""
    checksums: dict[str, str]
    """MD5 of every file that torchvision checks, by its path under the data root."""
    augmentation: tuple[torch.nn.Module, ...]
    """The papers' random transforms of a PIL image, before it is made a tensor and normalised."""


def _sources() -> dict[str, _Source]:
    """The table of real datasets by name, with torchvision's own addresses and checksums."""
    # Importing torchvision takes a second, which only real images are worth.
    from torchvision.datasets import CIFAR10, STL10, SVHN  # noqa: PLC0415 - see above
    from torchvision.transforms import RandomCrop, RandomHorizontalFlip  # noqa: PLC0415 - see above

    svhn_url, svhn_file, svhn_checksum = SVHN.split_list["train"]
    cifar10_files = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    stl10_files = [*STL10.train_list, *STL10.test_list]
    return {
        "cifar10": _Source(
            open=partial(CIFAR10, train=True),
            url=CIFAR10.url,
            checksums={f"{CIFAR10.base_folder}/{file}": checksum for file, checksum in cifar10_files},
            augmentation=(RandomCrop(32, padding=4, padding_mode="reflect"), RandomHorizontalFlip()),
        ),
        "svhn": _Source(
            open=partial(SVHN, split="train"),
            url=svhn_url,
            checksums={svhn_file: svhn_checksum},
            augmentation=(RandomCrop(32, padding=2, padding_mode="constant"),),
        ),
        "stl10": _Source(
            open=partial(STL10, split="train"),
            url=STL10.url,
            checksums={f"{STL10.base_folder}/{file}": checksum for file, checksum in stl10_files},
            augmentation=(RandomCrop(96, padding=4, padding_mode="constant"), RandomHorizontalFlip()),
        ),
    }


def _open_images(dataset: Dataset, source: _Source, root: Path) -> "VisionDataset[tuple[Tensor, int]]":
    """Read the training images, to be augmented as they are drawn, or say which files stand in the way."""
    from torchvision.transforms import Compose, Normalize, ToTensor  # noqa: PLC0415 - as in `_sources`

    transform = Compose([*source.augmentation, ToTensor(), Normalize(dataset.mean, dataset.std)])
    try:
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 complain of the pickles CIFAR-10 is published in.
            warnings.filterwarnings("ignore", r"dtype\(\): align should be passed", UserWarning)
            return source.open(root, transform=transform)
    except RuntimeError as error:
        # torchvision says "not found or corrupted" of all files together. Each is looked at only now, since reading
        # the 3 GB of STL-10 for their checksums once is slow enough.
        problems = _list_problems(source, root)
        if not problems:
            raise
        raise DataRootError(_describe_problems(dataset, source, root, problems)) from error


def _list_problems(source: _Source, root: Path) -> list[str]:
    """What is wrong with the files of a dataset: a line with those missing, a line with those damaged."""
    from torchvision.datasets.utils import check_integrity  # noqa: PLC0415 - as in `_sources`

    missing = [file for file in source.checksums if not (root / file).is_file()]
    present = {file: checksum for file, checksum in source.checksums.items() if file not in missing}
    corrupted = [file for file, checksum in present.items() if not check_integrity(root / file, checksum)]
    problems = {"missing": missing, "corrupted (MD5 differs)": corrupted}
    return [f"{problem}: {', '.join(files)}" for problem, files in problems.items() if files]


def _describe_problems(dataset: Dataset, source: _Source, root: Path, problems: list[str]) -> str:
    download = source.url.rpartition("/")[2]
    action = "put" if download in source.checksums else "unpack"
    return "\n".join(
        [
            f"no complete {dataset.title} in the data root {root}",
            *problems,
            f"{action} {download} (from {source.url}) into {root}, which gives:",
            *(f"  {root / file}" for file in source.checksums),
        ]
    )
