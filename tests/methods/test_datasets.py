"""The table of datasets against the papers' constants, and look-ups by name."""

import contextlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.datasets import DATASETS, UnknownDatasetError, get_dataset, height_and_width, write_image_size

ROOT = Path(__file__).parents[2]


def test_every_dataset_is_found_by_its_own_name():
    assert [get_dataset(name).name for name in DATASETS] == ["cifar10", "svhn", "stl10", "imagenet", "cityscapes"]


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("svhn", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("stl10", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    ],
)
def test_normalisation_is_that_of_the_released_code(name, mean, std):
    dataset = get_dataset(name)
    assert [255 * value for value in dataset.mean] == pytest.approx(mean, rel=1e-15)
    assert [255 * value for value in dataset.std] == pytest.approx(std, rel=1e-15)


@pytest.mark.parametrize(
    ("name", "batch_size", "steps"), [("cifar10", 1024, 49), ("svhn", 1024, 72), ("stl10", 128, 40)]
)
def test_an_epoch_has_as_many_steps_as_in_the_papers(name, batch_size, steps):
    assert math.ceil(get_dataset(name).train_count / batch_size) == steps


def test_every_dataset_has_its_classes_and_image_size():
    assert [(dataset.image_size, dataset.class_count) for dataset in DATASETS.values()] == [
        (32, 10),
        (32, 10),
        (96, 10),
        (224, 1000),
        ((512, 1024), 19),
    ]


def test_image_sizes_are_read_and_written_as_height_and_width():
    assert height_and_width(96) == (96, 96)
    assert height_and_width((512, 1024)) == (512, 1024)
    assert (write_image_size(96), write_image_size((512, 1024))) == ("96", "512x1024")


@pytest.mark.parametrize("name", ["cifar", "CIFAR-10", "cifra10"])
def test_a_name_that_is_nearly_right_gets_the_right_one(name):
    with pytest.raises(UnknownDatasetError, match=rf"^unknown dataset '{name}': did you mean 'cifar10'\? there are "):
        get_dataset(name)


def test_a_name_like_no_other_gets_all_names():
    with pytest.raises(
        UnknownDatasetError, match=r"^unknown dataset 'mnist': there are cifar10, svhn, stl10, imagenet, cityscapes$"
    ):
        get_dataset("mnist")


@given(st.text())
def test_any_string_gives_a_dataset_or_the_named_error(name):
    with contextlib.suppress(UnknownDatasetError):
        assert get_dataset(name) is DATASETS[name]


def test_the_table_is_read_without_torch():
    code = "import sys, methods.datasets; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
