"""The released loss weights, cell by cell."""

import pytest

from bench.workloads.networks import get_network
from methods.published_weights import CITYSCAPES_BATCH_12, MLAAN, published_weights

# Dataset, network, kind of split -> K -> first pair, last pair, as the released commands have them.
CELLS = {
    ("cifar10", "resnet32", "equal"): {2: "5,1", 4: "6,0;1,2", 8: "5,0;0,2", 16: "5,0.05;0.2,0.5"},
    ("cifar10", "resnet110", "equal"): {2: "5,0.5", 4: "1,0;0,1", 8: "5,0;0,1", 16: "5,0;0.5,1", 55: "5,0;0.5,1"},
    ("cifar10", "resnet110", "balanced"): {2: "5,0.1", 3: "5,0;5,0.1", 4: "5,0;5,0.1"},
    ("stl10", "resnet110", "equal"): {2: "10,1", 4: "20,0.2;5,2", 8: "20,0.2;5,1", 16: "20,0.5;10,0.1"},
    ("stl10", "resnet110", "balanced"): {2: "20,1", 3: "20,0.5;5,2", 4: "20,0.5;10,1"},
    ("svhn", "resnet110", "equal"): {2: "1,0.1", 4: "5,0;0.5,1", 8: "5,0;0.5,2", 16: "5,0.2;0.5,1"},
    ("imagenet", "resnet101", "balanced"): {2: "5,0.75"},
    ("imagenet", "resnet152", "balanced"): {2: "5,1"},
    ("imagenet", "resnext101_32x8d", "balanced"): {2: "5,0.75"},
    ("cityscapes", "deeplabv3_resnet101", "balanced"): {2: "1.5,1"},
    ("cityscapes", "deeplabv3_resnet101@640x1280", "balanced"): {2: "2,1"},
    ("cifar10", "resnet32", "contsup balanced"): {2: "5,0.1", 3: "5,0;5,0.1", 4: "5,0;0,0.1", 8: "5,0;0,2"},
    ("cifar10", "resnet110", "contsup balanced"): {2: "5,0.1", 3: "5,0;5,0.1", 4: "5,0;0,0.1"},
    # ContSup reuses InfoPro's for equal splits.
    ("svhn", "resnet110", "contsup equal"): {4: "5,0;0.5,1"},
    # What was never published takes the other kind of split, then our own.
    ("imagenet", "resnet101", "equal"): {2: "5,0.75"},
    ("cifar10", "resnet32", "balanced"): {2: "5,0.1", 16: "5,0.05;0.2,0.5"},
    ("cifar10", "vgg11_bn", "equal"): {4: "5,0.5;0.5,1"},
}


@pytest.mark.parametrize(("cell", "module_count"), [(cell, k) for cell, row in CELLS.items() for k in row])
def test_a_cell_has_its_released_weights(cell, module_count):
    dataset, name, kind = cell
    network = get_network(name)
    pairs = [tuple(map(float, pair.split(","))) for pair in CELLS[cell][module_count].split(";")]
    found = published_weights(
        dataset,
        network.name,
        module_count,
        equal_split=kind.endswith("equal"),
        contsup=kind.startswith("contsup"),
        image_size=network.image_size,
    )
    assert (found.first, found.last) == (pairs[0], pairs[-1])


def test_rows_of_no_cell_are_there_for_specs_to_name():
    assert (CITYSCAPES_BATCH_12, MLAAN) == ((1, 0.1), (5, 0.5, 0, 0))
