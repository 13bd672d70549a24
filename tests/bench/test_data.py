"""Synthetic batches, and the loaders of real images on small files in the datasets' own formats."""

import hashlib
import pickle
import struct
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import CIFAR10, STL10, SVHN

from bench.workloads.data import DataRootError, synthetic_batch, training_loader
from methods.datasets import DATASETS, UnknownDatasetError, get_dataset, height_and_width

PADDING = {"cifar10": (4, "reflect"), "svhn": (2, "constant"), "stl10": (4, "constant")}
FILES = {
    "cifar10": [
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
    ],
    "svhn": ["train_32x32.mat"],
    "stl10": [f"stl10_binary/{name}.bin" for name in ("train_X", "train_y", "unlabeled_X", "test_X", "test_y")],
}

every_dataset = pytest.mark.parametrize("name", DATASETS)
every_real_dataset = pytest.mark.parametrize("name", PADDING)
# Python 3.12 warns of every fork under threads, and torch's loader forks by design.
forks = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def same_crops_in_every_run():
    torch.manual_seed(0)


# Files as the authors of the datasets publish them: images (count, 3, size, size) uint8, labels (count,) from 0 to 9.


class Python2Pickler(pickle._Pickler):
    """Pickles byte strings, text and NumPy types as Python 2 did when CIFAR-10 was published."""

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        raw = value.encode("latin1") if isinstance(value, str) else value
        write = self.write  # pyright: ignore[reportAttributeAccessIssue] - set by the parent's __init__
        write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)

    dispatch[str] = dispatch[bytes] = save_string

    def reducer_override(self, value):
        if not isinstance(value, np.dtype):
            return NotImplemented
        make, (code, _align, _copy), state = value.__reduce__()
        return make, (code, 0, 1), state


def write_cifar10(root, images, labels):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for file, chosen in zip(files, [*np.array_split(np.arange(len(images)), 5), np.arange(1)], strict=True):
        batch = {
            "batch_label": f"small {file}",
            "labels": labels[chosen].tolist(),
            "data": images[chosen].reshape(len(chosen), 3072),
            "filenames": [f"image_{place}.png" for place in chosen],
        }
        with (folder / file).open("wb") as stream:
            Python2Pickler(stream, protocol=2).dump(batch)
    with (folder / "batches.meta").open("wb") as stream:
        Python2Pickler(stream, protocol=2).dump({"label_names": [f"class {label}" for label in range(10)]})


def write_svhn(root, images, labels):
    pixels = images.transpose(2, 3, 1, 0)
    classes = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(root / "train_32x32.mat", {"X": pixels, "y": classes}, do_compression=True)


def write_stl10(root, images, labels):
    folder = root / "stl10_binary"
    folder.mkdir()
    columns_first = images.transpose(0, 1, 3, 2).tobytes()
    for split in ("train", "test"):
        (folder / f"{split}_X.bin").write_bytes(columns_first)
        (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(columns_first)


WRITE = {"cifar10": write_cifar10, "svhn": write_svhn, "stl10": write_stl10}


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Writes images as a dataset; torchvision then takes their checksums for the published ones."""

    def checksum(file):
        return hashlib.md5((tmp_path / file).read_bytes()).hexdigest()

    def checksums(dataset, files):
        return [[name, checksum(f"{dataset.base_folder}/{name}")] for name, _ in files]

    def write(name, images, labels=None):
        WRITE[name](tmp_path, images, np.arange(len(images)) % 10 if labels is None else labels)
        if name == "cifar10":
            monkeypatch.setattr(CIFAR10, "train_list", checksums(CIFAR10, CIFAR10.train_list))
            monkeypatch.setattr(CIFAR10, "test_list", checksums(CIFAR10, CIFAR10.test_list))
            monkeypatch.setitem(CIFAR10.meta, "md5", checksum("cifar-10-batches-py/batches.meta"))
        elif name == "svhn":
            url, file, _ = SVHN.split_list["train"]
            monkeypatch.setitem(SVHN.split_list, "train", [url, file, checksum(file)])
        else:
            monkeypatch.setattr(STL10, "train_list", checksums(STL10, STL10.train_list))
            monkeypatch.setattr(STL10, "test_list", checksums(STL10, STL10.test_list))
        return tmp_path

    return write


def random_images(name, count):
    size = get_dataset(name).image_size
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def uniform_images(name, count, pixel):
    size = get_dataset(name).image_size
    return np.full((count, 3, size, size), pixel, dtype=np.uint8)


def pixels_of(images, dataset):
    """Undoes the normalisation: images in [0, 1] again, but for rounding."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (dataset.mean, dataset.std))
    return images * std + mean


def batches_of(name, root, *, batch_size=4, epochs=1, **options):
    loader = training_loader(get_dataset(name), root, batch_size, **options)
    return [batch for _ in range(epochs) for batch in loader]


def find_crops(name, image, original):
    """All (top, left, flipped) at which a loaded image lies in its padded original."""
    dataset, (padding, mode) = get_dataset(name), PADDING[name]
    pixels = (pixels_of(image, dataset) * 255).round().numpy().astype(np.uint8)
    borders = ((0, 0), (padding, padding), (padding, padding))
    padded = np.pad(original, borders, "reflect" if mode == "reflect" else "constant")
    crops = np.lib.stride_tricks.sliding_window_view(padded, pixels.shape[1:], axis=(1, 2))
    return [
        (int(top), int(left), flipped)
        for flipped in (False, True)
        for top, left in np.argwhere((crops == pixels[:, None, None, :, :: -1 if flipped else 1]).all(axis=(0, 3, 4)))
    ]


def images_by_label(batches):
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return images[labels.argsort()]


def assert_same_batches(some, others):
    for (images, labels), (other_images, other_labels) in zip(some, others, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


# Synthetic batches


@every_dataset
def test_a_synthetic_batch_looks_like_a_normalised_real_one(name):
    dataset = get_dataset(name)
    images, labels = synthetic_batch(dataset, dataset.image_size, 32, "cpu")
    size = height_and_width(dataset.image_size)
    assert (images.shape, images.dtype) == ((32, 3, *size), torch.float32)
    assert (labels.shape, labels.dtype) == ((32, *(size if dataset.label_per_pixel else ())), torch.int64)
    assert set(labels.unique().tolist()) <= set(range(dataset.class_count))
    pixels = pixels_of(images, dataset)
    assert pixels.min() > -1e-6
    assert pixels.max() < 1 + 1e-6
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx([0.5] * 3, abs=0.01)
    assert pixels.std((0, 2, 3)).tolist() == pytest.approx([12**-0.5] * 3, abs=0.01)


def test_a_synthetic_batch_has_the_image_size_and_classes_asked_for():
    dataset = replace(get_dataset("cifar10"), class_count=1000)
    images, labels = synthetic_batch(dataset, 20, 256, torch.device("cpu"))
    assert images.shape == (256, 3, 20, 20)
    assert 10 < labels.max() < 1000


def test_a_seed_decides_the_synthetic_batch_alone():
    dataset = get_dataset("cifar10")
    images, labels = synthetic_batch(dataset, 8, 16, "cpu", seed=1)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert_same_batches([synthetic_batch(dataset, 8, 16, "cpu", seed=1)], [(images, labels)])
    assert torch.equal(torch.get_rng_state(), state)
    other_images, other_labels = synthetic_batch(dataset, 8, 16, "cpu", seed=2)
    assert not torch.equal(other_images, images)
    assert not torch.equal(other_labels, labels)


def test_a_synthetic_batch_on_meta_has_shapes_and_no_data():
    images, labels = synthetic_batch(get_dataset("stl10"), 96, 1024, "meta")
    assert images.is_meta
    assert labels.is_meta
    assert (images.shape, images.dtype) == ((1024, 3, 96, 96), torch.float32)
    assert (labels.shape, labels.dtype) == ((1024,), torch.int64)


# Real images


@every_real_dataset
def test_every_image_is_a_crop_of_its_padded_original_under_its_label(name, plant):
    images = random_images(name, 12)
    labels = np.array([0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 0, 0])
    loader = training_loader(get_dataset(name), plant(name, images, labels), 4)
    loaded = [loader.dataset[place] for place in range(12)]
    assert [len(find_crops(name, image, images[place])) for place, (image, _) in enumerate(loaded)] == [1] * 12
    assert [label for _, label in loaded] == labels.tolist()


@every_real_dataset
def test_crops_reach_every_place_of_the_padded_original(name, plant):
    images = random_images(name, 1)
    loader = training_loader(get_dataset(name), plant(name, np.repeat(images, 5, axis=0)), 4)
    crops = [crop for _ in range(80) for crop in find_crops(name, loader.dataset[0][0], images[0])]
    tops, lefts, _ = (set(drawn) for drawn in zip(*crops, strict=True))
    assert len(crops) == 80
    assert tops == lefts == set(range(2 * PADDING[name][0] + 1))


@every_real_dataset
def test_batches_are_of_the_papers_shape_and_stay_in_range(name, plant):
    dataset = get_dataset(name)
    root = plant(name, random_images(name, 10))
    for images, labels in batches_of(name, root, batch_size=5):
        assert (images.shape, images.dtype) == ((5, 3, dataset.image_size, dataset.image_size), torch.float32)
        assert (labels.shape, labels.dtype) == ((5,), torch.int64)
        pixels = pixels_of(images, dataset)
        assert pixels.min() > -1e-6
        assert pixels.max() < 1 + 1e-6


@every_real_dataset
def test_an_epoch_shows_every_image_once_and_keeps_the_last_partial_batch(name, plant):
    root = plant(name, uniform_images(name, 10, 128))
    loader = training_loader(get_dataset(name), root, 4)
    labels = [labels for _, labels in loader]
    assert [len(batch) for batch in labels] == [4, 4, 2]
    assert len(loader) == 3
    assert sorted(torch.cat(labels).tolist()) == list(range(10))


@every_real_dataset
def test_a_white_image_gets_black_borders_only_where_zeros_pad(name, plant):
    dataset, (padding, mode) = get_dataset(name), PADDING[name]
    root = plant(name, uniform_images(name, 60, 255))
    images = torch.cat([images for images, _ in batches_of(name, root)])
    pixels = pixels_of(images, dataset).round(decimals=4)
    if mode == "reflect":
        assert (pixels == 1).all()
    else:
        assert set(pixels.unique().tolist()) == {0.0, 1.0}
        assert (pixels[:, :, padding:-padding, padding:-padding] == 1).all()
        black_rows = (pixels[:, 0] == 0).all(dim=2).sum(dim=1)
        black_columns = (pixels[:, 0] == 0).all(dim=1).sum(dim=1)
        assert set(black_rows.tolist()) == set(black_columns.tolist()) == set(range(padding + 1))


@pytest.mark.parametrize(("name", "flips"), [("cifar10", True), ("svhn", False), ("stl10", True)])
def test_about_half_the_images_are_flipped_but_no_house_numbers(name, flips, plant):
    images = uniform_images(name, 60, 0)
    images[:, :, :, images.shape[-1] // 2 :] = 255
    batches = batches_of(name, plant(name, images))
    size = images.shape[-1]
    left_is_brighter = torch.cat(
        [
            batch[:, :, :, : size // 2].mean((1, 2, 3)) > batch[:, :, :, size // 2 :].mean((1, 2, 3))
            for batch, _ in batches
        ]
    )
    assert (15 < left_is_brighter.sum() < 45) if flips else not left_is_brighter.any()


@pytest.mark.parametrize("workers", [0, 2])
@forks
def test_a_seed_decides_the_order_of_every_epoch_alone(workers, plant):
    root = plant("svhn", uniform_images("svhn", 10, 128))

    def orders(seed):
        batches = batches_of("svhn", root, batch_size=10, epochs=2, workers=workers, seed=seed)
        return [labels.tolist() for _, labels in batches]

    first, second = orders(1)
    torch.manual_seed(7)
    assert orders(1) == [first, second]
    assert list(range(10)) not in (first, second)
    assert first != second
    assert orders(2)[0] != first


def test_torchs_global_generator_decides_crops_without_workers(plant):
    root = plant("svhn", random_images("svhn", 10))
    torch.manual_seed(7)
    batches = batches_of("svhn", root, seed=1)
    torch.manual_seed(7)
    assert_same_batches(batches_of("svhn", root, seed=1), batches)
    torch.manual_seed(8)
    assert not torch.equal(images_by_label(batches_of("svhn", root, seed=1)), images_by_label(batches))


@forks
def test_a_seed_alone_decides_crops_with_workers(plant):
    root = plant("svhn", random_images("svhn", 10))
    batches = batches_of("svhn", root, epochs=2, workers=2, seed=1)
    torch.manual_seed(7)
    assert_same_batches(batches_of("svhn", root, epochs=2, workers=2, seed=1), batches)
    first_epoch, second_epoch = images_by_label(batches[:3]), images_by_label(batches[3:])
    assert not torch.equal(first_epoch, second_epoch)
    assert not torch.equal(first_epoch, images_by_label(batches_of("svhn", root, workers=2, seed=2)))


@pytest.mark.parametrize("cuda", [False, True])
def test_memory_is_pinned_where_there_is_cuda(cuda, plant, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    root = plant("svhn", uniform_images("svhn", 4, 0))
    assert training_loader(get_dataset("svhn"), root, 4).pin_memory is cuda


def test_a_dataset_without_real_images_is_refused(tmp_path):
    with pytest.raises(
        UnknownDatasetError, match=r"^no real images of dataset 'mine': there are cifar10, svhn, stl10$"
    ):
        training_loader(replace(get_dataset("cifar10"), name="mine"), tmp_path, 4)


# Data roots that lack something


@every_real_dataset
def test_an_empty_data_root_lists_every_file(name, tmp_path):
    with pytest.raises(DataRootError) as caught:
        training_loader(get_dataset(name), tmp_path, 4)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"no complete {get_dataset(name).title} in the data root {tmp_path}"
    assert lines[1] == f"missing: {', '.join(FILES[name])}"
    assert lines[3:] == [f"  {tmp_path / file}" for file in FILES[name]]


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("cifar10", "unpack cifar-10-python.tar.gz (from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz)"),
        ("svhn", "put train_32x32.mat (from http://ufldl.stanford.edu/housenumbers/train_32x32.mat)"),
        ("stl10", "unpack stl10_binary.tar.gz (from http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz)"),
    ],
)
def test_the_message_says_what_to_put_where(name, action, tmp_path):
    with pytest.raises(DataRootError) as caught:
        training_loader(get_dataset(name), tmp_path / "nowhere", 4)
    assert str(caught.value).splitlines()[2] == f"{action} into {tmp_path / 'nowhere'}, which gives:"


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
@pytest.mark.parametrize("problem", ["missing", "corrupted (MD5 differs)"])
def test_a_single_bad_file_is_named_with_what_is_wrong(name, file, problem, plant):
    path = plant(name, random_images(name, 5)) / file
    if problem == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    root = str(path).removesuffix(file)
    with pytest.raises(DataRootError) as caught:
        training_loader(get_dataset(name), root, 4)
    assert str(caught.value).splitlines()[1] == f"{problem}: {file}"


def test_missing_and_corrupted_files_are_told_apart(plant):
    root = plant("stl10", random_images("stl10", 5))
    (root / "stl10_binary/train_X.bin").write_bytes(b"")
    (root / "stl10_binary/test_y.bin").unlink()
    with pytest.raises(DataRootError) as caught:
        training_loader(get_dataset("stl10"), root, 4)
    assert str(caught.value).splitlines()[1:3] == [
        "missing: stl10_binary/test_y.bin",
        "corrupted (MD5 differs): stl10_binary/train_X.bin",
    ]


def test_a_data_root_in_the_home_folder_is_found(plant, monkeypatch):
    root = plant("svhn", uniform_images("svhn", 4, 0))
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(training_loader(get_dataset("svhn"), f"~/{root.name}", 4)) == 1


def test_an_error_that_is_not_about_the_files_passes_through(plant, monkeypatch):
    root = plant("svhn", uniform_images("svhn", 4, 0))

    def fail(*_args, **_options):
        raise RuntimeError("out of threads")

    monkeypatch.setattr(SVHN, "__init__", fail)
    with pytest.raises(RuntimeError, match=r"^out of threads$"):
        training_loader(get_dataset("svhn"), root, 4)
