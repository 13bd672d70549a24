"""The conformance suite of methods in rounds: what holds of every round of every one."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional

from methods.chain import Chain
from methods.datasets import DATASETS
from methods.registry import METHODS, read_spec
from methods.sequential import SequentialNetwork, build_training_network
from methods.spec import SpecError
from partition import equal_split
from tests.methods.test_engine import EXPONENTIAL, SEQUENTIAL, SPECS, gradients, plain_backprop
from tests.methods.tiny import build, make_batch

ENSEMBLES = [spec for spec in SEQUENTIAL if read_spec(spec).parts.sequential.ensemble]
FROZEN = [spec for spec in SEQUENTIAL if spec not in ENSEMBLES]
ROUNDS = range(4)


@pytest.fixture
def batch():
    return make_batch()


def snapshot(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def sgd(network, rate=0.05):
    return torch.optim.SGD(network.round_parameters(), rate, momentum=0.9, nesterov=True)


def test_every_method_with_rounds_is_in_this_suite():
    named = {name for name, method in METHODS.items() if "sequential" in (method.begins or {})}
    assert named == {"asy_infopro", "boostresnet", "dib"}
    assert {spec.partition("[")[0].partition("+")[0] for spec in SEQUENTIAL} == named
    assert all(SPECS[name] for name in named)


@pytest.mark.parametrize("spec", SEQUENTIAL)
@pytest.mark.parametrize("k", ROUNDS)
def test_the_loss_falls_within_every_round(spec, k, batch):
    network = build(spec, 4).start_round(k)
    optimizer, losses = sgd(network, 0.01 if spec in EXPONENTIAL else 0.05), []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(network.training_step(*batch).losses)
        optimizer.step()
    assert all(len(one) == 1 for one in losses)
    # A linear classifier of the stem alone has little to learn from; the whole network has.
    assert losses[-1][0] < (0.7 if k == 3 else 1.0) * losses[0][0]


@pytest.mark.parametrize("spec", SEQUENTIAL)
@pytest.mark.parametrize("k", ROUNDS)
def test_a_round_gives_gradients_to_its_parameters_and_no_others(spec, k, batch):
    network = build(spec, 4).start_round(k)
    network.training_step(*batch)
    found = {id(p) for p in network.parameters() if p.grad is not None}
    assert found == {id(p) for p in network.round_parameters()}


@pytest.mark.parametrize("spec", FROZEN)
@pytest.mark.parametrize("k", ROUNDS)
def test_a_step_changes_the_module_of_the_round_alone(spec, k, batch):
    network = build(spec, 4).start_round(k)
    before, optimizer = snapshot(network), sgd(network)
    network.training_step(*batch)
    optimizer.step()
    own = [f"chain.units.{unit}." for unit in network.split.modules()[k]]
    own.append("chain.head." if k == 3 else f"auxiliaries.{k}.")
    moved = changed(before, network)
    assert moved
    assert {name for name in moved if not name.startswith(tuple(own))} == set()
    assert any("running_mean" in name for name in moved), "the module under training normalises by its batch"


@pytest.mark.parametrize("spec", FROZEN)
def test_finished_modules_stay_in_evaluation_mode(spec, batch):
    network = build(spec, 4).start_round(2)
    network.eval().train()
    modes = [unit.training for unit in network.chain.units]
    finished = network.split.modules()[2].start
    assert modes == [False] * finished + [True] * (len(modes) - finished)


@pytest.mark.parametrize("spec", FROZEN)
@pytest.mark.parametrize("k", [1, 3])
def test_stored_features_give_the_step_of_recomputed_ones(spec, k, batch):
    computed, stored = (build(spec, 4, seed=5).start_round(k) for _ in range(2))
    features = computed.earlier_features(*batch)
    assert not features.requires_grad
    one, other = computed.training_step(*batch), stored.training_step(*batch, features=features)
    assert torch.equal(one.losses[0], other.losses[0])
    assert all(torch.equal(grad, gradients(stored)[name]) for name, grad in gradients(computed).items())


@pytest.mark.parametrize("loss", ["softmax", "contrast"])
def test_a_round_of_asy_infopro_is_infopros_local_step_behind_frozen_modules(loss, batch):
    """Module 2 of both, fed the same features: InfoPro's own modules before it in evaluation mode."""
    sequential = build(f"asy_infopro[{loss}]", 4, seed=7).start_round(2).double()
    simultaneous = build(f"infopro[{loss}]", 4, seed=7).double()
    images, labels = batch[0].double(), batch[1]
    for units in simultaneous.split.modules()[:2]:
        for unit in units:
            simultaneous.chain.units[unit].eval()
    expected = simultaneous.training_step(images, labels)
    found = sequential.training_step(images, labels)
    torch.testing.assert_close(found.losses[0], expected.losses[2])
    for name, gradient in gradients(sequential).items():
        torch.testing.assert_close(gradient, gradients(simultaneous)[name])


@pytest.mark.parametrize("spec", EXPONENTIAL)
def test_the_exponential_of_the_mean_scales_backprops_gradient(spec, batch):
    network = build(spec, 1).double()
    images, labels = batch[0].double(), batch[1]
    loss, expected, _ = plain_backprop(network, images, labels)
    found = network.training_step(images, labels).losses[0]
    torch.testing.assert_close(found, loss.detach().exp())
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, expected[name] * loss.detach().exp())


@pytest.mark.parametrize("spec", FROZEN)
def test_the_deployed_network_is_the_plain_backbone(spec, batch):
    network = build(spec, 4).start_round(3).eval()
    with torch.no_grad():
        for parameter in network.auxiliaries.parameters():
            parameter.fill_(torch.nan)
        assert torch.equal(network(batch[0]), network.chain(batch[0]))
    assert sum(p.numel() for p in network.deployed_parameters()) == sum(p.numel() for p in network.chain.parameters())


@pytest.mark.parametrize("spec", ENSEMBLES)
def test_every_rounds_network_keeps_its_vote(spec, batch):
    images, labels = batch
    network = build(spec, 3)
    opinions = []
    for k in range(3):
        optimizer = sgd(network.start_round(k))
        network.training_step(images, labels)
        optimizer.step()
        network.eval()
        with torch.no_grad():
            opinions.append(network.hypothesis(images))
    network.votes.copy_(torch.tensor([0.5, 2.0, 3.0]))
    with torch.no_grad():
        found = network(images)
    torch.testing.assert_close(found, 0.5 * opinions[0] + 2 * opinions[1] + 3 * opinions[2])
    assert not torch.allclose(opinions[0], opinions[1])
    alive = [*network.chain.units, network.chain.head, *network.voters]
    assert sum(p.numel() for p in network.deployed_parameters()) == sum(
        p.numel() for m in alive for p in m.parameters()
    )


@pytest.mark.parametrize("spec", ENSEMBLES)
def test_voters_are_copies_that_no_later_round_changes(spec, batch):
    network = build(spec, 3).start_round(1)
    before = snapshot(network.voters)
    weights = deepcopy(network.chain.units[0].state_dict())
    assert all(torch.equal(value, before[f"0.layers.0.{name}"]) for name, value in weights.items())
    optimizer = sgd(network)
    network.training_step(*batch)
    optimizer.step()
    assert changed(before, network.voters) == set()
    assert any(not torch.equal(value, weights[name]) for name, value in network.chain.units[0].state_dict().items())


def test_a_round_announces_its_pieces_in_order(batch):
    network, seen = build("asy_infopro", 2, split="2,5").start_round(1), []

    class Scope:
        def __init__(self, *where):
            seen.append(where)

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    network.observe = Scope
    network.training_step(*batch, after_module=lambda k: None)
    assert seen == [
        ("earlier", 0, 0), ("earlier", 0, 1), *(("unit", 1, unit) for unit in range(2, 7)), ("head", 1, None),
        ("backward", 1, None), ("optimizer", 1, None),
    ]  # fmt: skip


@pytest.mark.parametrize("spec", SEQUENTIAL)
@pytest.mark.parametrize("k", ROUNDS)
def test_no_round_asks_the_device_for_a_number(spec, k):
    with torch.device("meta"):
        network = build(spec, 4).start_round(k)
        network.training_step(torch.empty(4, 3, 8, 8), torch.empty(4, dtype=torch.long))
        network.eval()(torch.empty(4, 3, 8, 8))


def test_rounds_only_go_forward():
    network = build("asy_infopro", 4).start_round(2)
    for wrong in (1, 4):
        with pytest.raises(ValueError, match=rf"from 2 to 3 .asked for: {wrong}.*build the network again"):
            network.start_round(wrong)


def test_what_has_no_rounds_or_no_classifier_says_so():
    network = build("dgl", 2)
    with pytest.raises(SpecError, match="has no rounds"):
        SequentialNetwork(network.chain, network.split, network.parts)
    with pytest.raises(SpecError, match="local module 1 has no classifier"):
        build("asy_infopro[contrast]", 2).classifier(0)


def test_boosting_needs_one_label_per_image():
    chain = Chain(
        name="pixels",
        dataset=DATASETS["cityscapes"],
        image_size=32,
        units=[torch.nn.Conv2d(3, 4, 3, padding=1)],
        unit_names=["stem"],
        unit_shapes=[(4, 32, 32)],
        head=torch.nn.Conv2d(4, 19, 1),
    )
    with pytest.raises(SpecError, match="Cityscapes has one per pixel"):
        build_training_network(chain, equal_split(1, 1), read_spec("boostresnet").parts)


def test_a_hypothesis_is_the_softmax_of_the_rounds_classifier(batch):
    network = build("boostresnet", 4).start_round(1).eval()
    features = batch[0]
    with torch.no_grad():
        for unit in [*network.split.modules()[0], *network.split.modules()[1]]:
            features = network.chain.units[unit](features)
        logits = network.auxiliaries["1"].terms["local_loss"].head(features)
        torch.testing.assert_close(network.hypothesis(batch[0]), functional.softmax(logits, 1))
