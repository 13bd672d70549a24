"""A user's own network as a chain."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from bench.simulator.simulate import simulate_step
from bench.workloads.adapt import AdaptError, adapt
from methods.datasets import DATASETS
from methods.engine import TrainingNetwork
from methods.registry import read_spec
from partition import equal_split

CIFAR10 = DATASETS["cifar10"]


def small_units(*, pooling=True):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 3, 2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.MaxPool2d(2) if pooling else nn.Flatten()),
    )


def small_head(classes=10):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, classes))


def test_a_sequential_becomes_a_chain_of_its_own_modules():
    units, head = small_units(), small_head()
    before = {name: tensor.clone() for name, tensor in nn.ModuleList([units, head]).state_dict().items()}
    chain = adapt(units, head, dataset=CIFAR10)
    assert chain.unit_names == ("0", "1", "2")
    assert chain.unit_shapes == ((8, 32, 32), (16, 16, 16), (16, 8, 8))
    assert [*chain.units] == [*units]
    # Finding shapes leaves weights and running statistics alone.
    after = nn.ModuleList([units, head]).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("spec", ["dgl", "infopro[contrast]", "contsup[R1E]"])
def test_a_torchvision_network_is_trained_by_a_local_method(spec):
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(num_classes=10, width_mult=0.25)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier)
    chain = adapt(network.features, head, dataset=CIFAR10, image_size=32)
    network.eval()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 1, 2])
    torch.testing.assert_close(chain(images), network(images))
    network.train()
    training = TrainingNetwork(chain, equal_split(len(chain.units), 3), read_spec(spec).parts)
    training.training_step(images, labels)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_simulation_sees_nothing_of_the_search_for_shapes():
    def build(find):
        units, head = small_units(), small_head()
        chain = adapt(units, head, dataset=CIFAR10) if find else nn.Sequential(units, head)
        optimizer = torch.optim.SGD(chain.parameters(), 0.1)
        images = torch.empty(4, 3, 32, 32)

        def step():
            optimizer.zero_grad()
            chain(images).sum().backward()
            optimizer.step()

        return step, chain, optimizer, images

    found, plain = (simulate_step(lambda find=find: build(find)).stream.events for find in (True, False))
    assert [(event.action, event.bytes) for event in found] == [(event.action, event.bytes) for event in plain]


@pytest.mark.parametrize(
    ("units", "head", "message"),
    [
        ([nn.Conv2d(4, 8, 3)], small_head(), r"'0' cannot take \(3, 32, 32\) per image"),
        ([*small_units()], small_head(7), r"the head gives \(7,\) per image; CIFAR-10 needs \(10,\)"),
        ([*small_units(pooling=False)], nn.Linear(4096, 10), r"unit '2' gives \(4096,\) per image"),
        ([*small_units()], nn.Linear(9, 10), r"'head' cannot take \(16, 8, 8\) per image"),
        ([], small_head(), r"needs units, and a name for each of them \(units: 0, names: 0\)"),
        ([nn.LSTM(32, 8)], small_head(), "'0'"),
    ],
)  # fmt: skip
def test_modules_that_are_no_chain_say_which_does_not_fit(units, head, message):
    with pytest.raises(AdaptError, match=message):
        adapt(units, head, dataset=CIFAR10)


def test_a_dataset_of_ones_own_and_names_may_be_given():
    dataset = replace(CIFAR10, name="mine", class_count=3, image_size=(16, 24))
    chain = adapt(small_units(), small_head(3), dataset=dataset, unit_names=["a", "b", "c"], name="own")
    assert (chain.name, chain.image_shape, chain.unit_names) == ("own", (3, 16, 24), ("a", "b", "c"))
    assert chain.unit_shapes[-1] == (16, 4, 6)
