"""Losses that reach beyond their module, against gradients written out with plain autograd."""

from collections import Counter
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.probes.flops import FlopCounter
from methods.api import Link, Parts
from methods.overlap import plan_reach
from partition import Split
from tests.methods.tiny import build, make_batch


@pytest.fixture
def batch():
    images, labels = make_batch()
    return images.double(), labels


def run(network, units, features):
    for unit in units:
        features = network.chain.units[unit](features)
    return features


def last_loss(network, features, labels):
    return functional.cross_entropy(network.chain.head(features), labels)


def gradients(network):
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_equal_gradients(network, reference):
    found, expected = gradients(network), gradients(reference)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def backlink_by_hand(network, images, labels, links):
    """Every loss in a graph of its own, from the link of the module before on; gradients add up."""
    modules = list(network.split.modules())
    with torch.no_grad():
        inputs = [images]  # input of every module's front
        link_inputs = []
        for units, link in zip(modules, [*links, 0], strict=True):
            link_inputs.append(run(network, units[: len(units) - link], inputs[-1]))
            inputs.append(run(network, units[len(units) - link :], link_inputs[-1]))
            if network.junctions and len(inputs) <= len(network.junctions):
                junction = network.junctions[len(inputs) - 2]
                inputs[-1] = inputs[-1] + junction.image(images)
    for k, units in enumerate(modules):
        features = images
        if k > 0:
            before = modules[k - 1]
            features = run(network, before[len(before) - links[k - 1] :], link_inputs[k - 1])
            if network.junctions:
                features = features + network.junctions[k - 1].image(images)
        features = run(network, units, features)
        if k == len(modules) - 1:
            last_loss(network, features, labels).backward()
        else:
            network.auxiliaries[str(k)](features, images, labels).backward()


# Of 7 units: stem, then blocks of two convolutions.
@pytest.mark.parametrize(
    ("spec", "split", "links"),
    [
        ("backlink[2]", "2,2,3", [1, 1]),
        ("backlink[l=3]", "2,2,3", [2, 2]),  # a block and the stem; two blocks
        ("backlink[l=1]", "3,2,2", [1, 1]),
        ("backlink[2,unit=block]", "1,3,3", [1, 2]),  # clipped to the module
        ("backlink[l=99]", "2,2,3", [2, 2]),
        ("infopro[softmax,weights=3/0.5/1/2]+backlink[2]", "2,2,3", [1, 1]),
        ("contsup[E]+backlink[2]", "2,2,3", [1, 1]),
        ("dgl+backlink[2]+checkpoint[segments=2]", "2,2,3", [1, 1]),
    ],
)
def test_backlink_gives_each_loss_to_its_module_and_the_link_before(spec, split, links, batch):
    network = build(spec, 3, split=split).double()
    reference = deepcopy(network)
    network.training_step(*batch)
    backlink_by_hand(reference, *batch, links)
    assert_equal_gradients(network, reference)


def windows_by_hand(network, images, labels):
    """Own losses and windows as MLAAN's section 3 has them, every forward from a detached input anew."""
    cascade, modules = network.parts.cascade, list(network.split.modules())
    own_weight, window_weight = cascade.weights
    with torch.no_grad():
        inputs = [images]
        for units in modules:
            inputs.append(run(network, units, inputs[-1]))
    for k, units in enumerate(modules):
        last = k == len(modules) - 1
        if last or cascade.alone or k >= cascade.modules - 1:
            features = run(network, units, inputs[k])
            own = (
                last_loss(network, features, labels) if last else network.auxiliaries[str(k)](features, images, labels)
            )
            (own_weight * own).backward()
        if last or k >= cascade.modules - 1:
            start = max(0, k - cascade.modules + 1)
            features = inputs[start]
            for earlier in modules[start : k + 1]:
                features = run(network, earlier, features)
            window = last_loss(network, features, labels) if last else network.windows[str(k)](features, images, labels)
            (window_weight * window).backward()


MLAAN_SPECS = ["mlaan", "mlm", "mlm[c=3,loss_weights=0.3/0.7]", "mlaan[c=3,alone=later]", "mlaan[copies=single]",
               "mlm[c=9]", "infopro[contrast,weights=3/0.5/1/2]+mlaan", "dgl+mlaan[c=3]"]  # fmt: skip


@pytest.mark.parametrize("forwards", ["share", "repeat"])
@pytest.mark.parametrize("spec", MLAAN_SPECS)
def test_windows_give_the_gradients_of_their_definition(spec, forwards, batch):
    option = f"forwards={forwards}]"
    network = build(f"{spec[:-1]},{option}" if spec.endswith("]") else f"{spec}[{option}", 4).double()
    reference = deepcopy(network)
    network.training_step(*batch)
    windows_by_hand(reference, *batch)
    assert_equal_gradients(network, reference)


def count_forwards(network, images, labels):
    count = Counter()
    for unit, module in enumerate(network.chain.units):
        module.register_forward_hook(lambda *_, unit=unit: count.update([unit]))
    network.training_step(images, labels)
    return count


def test_shared_windows_run_every_unit_once(batch):
    network = build("mlaan[c=3]", 4).double()
    assert set(count_forwards(network, *batch).values()) == {1}
    norms = [m for m in network.chain.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


def test_repeated_windows_run_middle_units_once_for_each_window_that_holds_them(batch):
    network = build("mlaan[forwards=repeat]", 7).double()
    assert [count_forwards(network, *batch)[unit] for unit in range(7)] == [2, 3, 3, 3, 3, 3, 2]


def test_sharing_saves_forwards_and_weight_gradients(batch):
    def flops(spec):
        network = build(spec, 7).double()
        with FlopCounter() as counter:
            network.training_step(*batch)
        return counter.total

    # Per unit: a forward, an input gradient for the window that passes through, a full backward: 4 against 9.
    assert flops("mlm") < 0.5 * flops("mlm[forwards=repeat]")


@pytest.mark.parametrize(
    ("spec", "moved"),
    [("lam", [0, 1, 2]), ("lam[ema_of=last]", [2]), ("mlaan", [1, 2]), ("lam[ema_at=before]", [0, 1, 2])],
)
def test_averaged_copies_follow_the_live_weights(spec, moved, batch):
    network = build(spec, 4).double()
    auxiliaries = network.windows if "mlaan" in spec else network.auxiliaries
    before = {k: deepcopy(auxiliary.leap_units) for k, auxiliary in auxiliaries.items()}
    start = deepcopy(network.chain)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.5)
    network.training_step(*batch)
    optimizer.step()
    network.finish_step()
    followed = start if "before" in spec else network.chain
    for k, auxiliary in auxiliaries.items():
        copies = auxiliary.leap_units
        unit = followed.units[copies.sources[0]]
        for average, old, live in zip(
            copies.averaged[0].parameters(), before[k].averaged[0].parameters(), unit.parameters(), strict=True
        ):
            expected = 0.995 * old + 0.005 * live if int(k) in moved else old
            torch.testing.assert_close(average, expected, rtol=1e-9, atol=1e-12)
            assert average.grad is None
        trained = zip(copies.trained.parameters(), before[k].trained.parameters(), strict=True)
        assert any(not torch.equal(new, old) for new, old in trained)


def test_a_single_set_of_copies_is_trained_and_averaged(batch):
    network = build("lam[copies=single,momentum=0.25]", 4).double()
    copies = network.auxiliaries["1"].leap_units
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    network.training_step(*batch)
    optimizer.step()
    stepped = deepcopy(copies.trained)
    network.finish_step()
    for place, source in enumerate(copies.sources):
        live = network.chain.units[source].parameters()
        for new, old, target in zip(copies.trained[place].parameters(), stepped[place].parameters(), live, strict=True):
            torch.testing.assert_close(new, 0.25 * old + 0.75 * target, rtol=1e-9, atol=1e-12)


def test_copies_begin_as_their_sources(batch):
    network = build("lam", 4)
    for auxiliary in network.auxiliaries.values():
        copies = auxiliary.leap_units
        for copy, source in zip(copies.trained, copies.sources, strict=True):
            for a, b in zip(copy.parameters(), network.chain.units[source].parameters(), strict=True):
                assert torch.equal(a, b)
                assert a is not b


def test_a_link_is_the_fewest_last_units_that_hold_its_layers():
    chain = build("e2e", 1).chain
    reach = plan_reach(chain, Split((3, 4)), Parts(local_loss="softmax", link=Link(layers=3)))
    assert reach.pieces == ((range(1), range(1, 3)), (range(3, 7),))
    assert reach.shares == (((1.0, 2),), ((1.0, 2),))
    assert reach.last_reader == (0, 1, 1)
