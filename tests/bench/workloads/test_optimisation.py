"""Schedules at hand-computed points, and the papers' settings."""

import math

import pytest
import torch

from bench.cases import make_case
from bench.training import build_training
from bench.workloads.networks import NETWORKS
from bench.workloads.optimisation import BY_DATASET, OTHERS, cosine, cosine_with_warm_up, find_recipe, polynomial
from methods.datasets import DATASETS


def cifar_rate(epoch, epochs, base):
    """As the released code writes it, with epochs from 1."""
    rate = 0.5 * base * (1 + math.cos(math.pi * epoch / epochs))
    return rate * (epoch - 1) / 10 + 0.01 * (11 - epoch) / 10 if epoch <= 10 else rate


@pytest.mark.parametrize(("epochs", "base"), [(160, 0.8), (160, 0.1), (400, 0.8)])
def test_cifars_schedule_is_the_released_one(epochs, base):
    found = [cosine_with_warm_up(period, epochs, base) for period in range(epochs)]
    assert found == pytest.approx([cifar_rate(epoch, epochs, base) for epoch in range(1, epochs + 1)], rel=1e-12)
    assert found[0] == 0.01
    assert found[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("period", "expected"), [(0, 0.4), (30, 0.3), (45, 0.2), (60, 0.1)])
def test_imagenets_schedule_is_a_cosine_from_its_base_rate(period, expected):
    assert cosine(period, 90, 0.4) == pytest.approx(expected, rel=1e-12)
    assert find_recipe("imagenet", "resnet101").learning_rate(period) == pytest.approx(expected, rel=1e-12)


def test_cityscapes_schedule_falls_by_power_to_its_least_rate():
    rates = [polynomial(i, 40_000, 0.01) for i in (0, 20_000, 40_000)]
    assert rates == pytest.approx([0.01, 0.0099 * 0.5**0.9 + 1e-4, 1e-4], rel=1e-12)


@pytest.mark.parametrize("recipe", [*BY_DATASET.values(), *OTHERS.values()])
def test_every_schedule_stays_between_nothing_and_its_base_rate(recipe):
    periods = recipe.epochs or recipe.iterations
    assert (recipe.epochs is None) != (recipe.iterations is None)
    rates = [recipe.learning_rate(period) for period in range(0, periods, max(1, periods // 500))]
    assert all(0 <= rate <= recipe.base_rate for rate in rates)
    assert rates[-1] < 0.02 * recipe.base_rate


# Dataset, network -> batch, base rate, epochs or iterations, Nesterov, weight decay.
PUBLISHED = {
    ("cifar10", "resnet110"): (1024, 0.8, 160, True, 1e-4),
    ("svhn", "resnet110"): (1024, 0.8, 160, True, 1e-4),
    ("stl10", "resnet110"): (128, 0.1, 160, True, 1e-4),
    ("cifar10", "densenet_bc_100_12"): (256, 0.2, 160, True, 1e-4),
    ("imagenet", "resnet152"): (1024, 0.4, 90, True, 1e-4),
    ("imagenet", "resnext101_32x8d"): (512, 0.2, 90, True, 1e-4),
    ("cityscapes", "deeplabv3_resnet101"): (8, 0.01, 40_000, False, 5e-4),
}


@pytest.mark.parametrize("place", PUBLISHED)
def test_a_recipe_is_the_published_one(place):
    r = find_recipe(*place)
    assert (r.batch_size, r.base_rate, r.epochs or r.iterations, r.nesterov, r.weight_decay) == PUBLISHED[place]
    assert r.momentum == 0.9


def test_every_dataset_has_a_recipe():
    assert BY_DATASET.keys() == DATASETS.keys()
    assert all(find_recipe(network.dataset.name, name) for name, network in NETWORKS.items())


@pytest.mark.parametrize(
    ("network", "nesterov", "weight_decay"), [("resnet32", True, 1e-4), ("deeplabv3_resnet101@32x64", False, 5e-4)]
)
def test_a_case_is_optimised_as_its_dataset(network, nesterov, weight_decay):
    case = make_case(method="e2e", network=network, batch_size=2)
    (optimizer,) = build_training(case, torch.device("meta")).optimizers
    settings = {key: optimizer.defaults[key] for key in ("momentum", "nesterov", "weight_decay")}
    assert settings == {"momentum": 0.9, "nesterov": nesterov, "weight_decay": weight_decay}
