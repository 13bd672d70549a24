"""Deep supervision: a chain's extra losses are part of the local module they sit in, and of no other."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.chain import Chain
from methods.datasets import DATASETS
from methods.engine import TrainingNetwork
from methods.registry import read_spec
from partition import parse_split

UNITS = 6
SUPERVISED = 3


class Supervision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                  nn.Linear(4, 10))  # fmt: skip

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return 0.4 * functional.cross_entropy(self.head(features), labels)


def make_chain(extra=(SUPERVISED,)):
    torch.manual_seed(0)
    widths = [3] + [4] * UNITS
    return Chain(
        name="tiny",
        dataset=DATASETS["cifar10"],
        image_size=8,
        units=[nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)],
        unit_names=[str(i) for i in range(UNITS)],
        unit_shapes=[(4, 8, 8)] * UNITS,
        head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)),
        extra_losses={unit: Supervision() for unit in extra},
    ).double()


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 8, 8, generator=generator).double(), torch.randint(10, (8,), generator=generator)


def train(chain, spec, split):
    network = TrainingNetwork(chain, parse_split(split, chain.unit_names), read_spec(spec).parts).double().train()
    result = network.training_step(*batch())
    return network, result


def gradients(chain):
    return {name: parameter.grad for name, parameter in chain.named_parameters()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def by_hand(chain):
    """The sum of both losses, as anyone would write it."""
    images, labels = batch()
    features, extra = images, 0
    for i, unit in enumerate(chain.units):
        features = unit(features)
        if str(i) in chain.extra_losses:
            extra = extra + chain.extra_losses[str(i)](features, labels)
    loss = functional.cross_entropy(chain.head(features), labels) + extra
    loss.backward()
    return loss


@pytest.mark.parametrize("spec", ["e2e", "checkpoint[segments=1]", "checkpoint[segments=2]", "checkpoint[segments=6]"])
@pytest.mark.parametrize("extra", [(), (3,), (0, 3), (5,)])
def test_backprop_adds_extra_losses_to_the_networks_own(spec, extra):
    plain = make_chain(extra)
    trained = copy.deepcopy(plain)
    expected = by_hand(plain.train())
    _, result = train(trained, spec, str(UNITS))
    assert result.losses[-1].item() == pytest.approx(expected.item(), rel=1e-12)
    assert_same(gradients(trained), gradients(plain))
    assert_same(dict(trained.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize(("split", "module"), [("5,1", 0), ("4,2", 0), ("3,3", 1), ("2,1,3", 2)])
def test_an_extra_loss_trains_the_module_of_its_unit_alone(split, module):
    chain = make_chain()
    network = TrainingNetwork(chain, parse_split(split, chain.unit_names), read_spec("dgl").parts).double().train()
    without = copy.deepcopy(network)
    without.chain.extra_losses = nn.ModuleDict()
    for one in (network, without):
        one.training_step(*batch())
    found, plain = gradients(network), gradients(without)
    changed = {name for name in plain if not torch.allclose(plain[name], found[name], rtol=0, atol=1e-14)}
    units = [unit for unit in network.split.modules()[module] if unit <= SUPERVISED]
    assert changed
    assert {name.rsplit(".", 2)[0] for name in changed} == {f"chain.units.{unit}" for unit in units}


def test_extra_losses_are_trained_with_their_module_and_not_deployed():
    network, _ = train(make_chain(), "dgl", "3,3")
    extra = {*network.chain.extra_losses.parameters()}
    assert extra
    assert not extra & {*network.deployed_parameters()}
    first, second = network.module_parameters()
    assert extra <= {*second}
    assert not extra & {*first}
    assert {*first, *second} == {*network.parameters()}


def test_the_observer_sees_an_extra_loss_as_such():
    seen = []
    chain = make_chain()
    network = TrainingNetwork(chain, parse_split("3,3", chain.unit_names), read_spec("dgl").parts).double().train()
    inner = network.observe
    network.observe = lambda *place: (seen.append(place), inner(*place))[1]
    network.training_step(*batch())
    assert [place[:2] for place in seen if place[0] == "extra loss"] == [("extra loss", 1)]
