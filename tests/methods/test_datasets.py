"""The table of datasets against the papers' constants, and look-ups by name."""

import contextlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.datasets import DATASETS, UnknownDatasetError, get_dataset

ROOT = Path(__file__).parents[2]


def test_every_dataset_is_found_by_its_own_name():
    assert [get_dataset(name).name for name in DATASETS] == ["cifar10", "svhn", "stl10"]


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


def test_every_dataset_has_ten_classes_and_its_image_size():
    assert [(dataset.image_size, dataset.class_count) for dataset in DATASETS.values()] == [
        (32, 10),
        (32, 10),
        (96, 10),
    ]


@pytest.mark.parametrize("name", ["cifar", "CIFAR-10", "cifra10"])
def test_a_name_that_is_nearly_right_gets_the_right_one(name):
    with pytest.raises(UnknownDatasetError, match=rf"^unknown dataset '{name}': did you mean 'cifar10'\? there are "):
        get_dataset(name)


def test_a_name_like_no_other_gets_all_names():
    with pytest.raises(UnknownDatasetError, match=r"^unknown dataset 'mnist': there are cifar10, svhn, stl10$"):
        get_dataset("mnist")


@given(st.text())
def test_any_string_gives_a_dataset_or_the_named_error(name):
    with contextlib.suppress(UnknownDatasetError):
        assert get_dataset(name) is DATASETS[name]


def test_the_table_is_read_without_torch():
    code = "import sys, methods.datasets; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
