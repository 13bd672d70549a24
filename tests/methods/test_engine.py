"""One training step of every method: the conformance suite, and the rules of single parts."""

import random
import weakref
from copy import deepcopy

import pytest
import torch
from torch.nn import functional

from methods.registry import METHODS, read_spec
from methods.spec import SpecError
from partition import SplitError
from tests.methods.tiny import build, make_batch

# Every registered method, and combinations of parts. A method that is missing here fails a test below.
SPECS = {
    "e2e": ["e2e"],
    "checkpoint": ["checkpoint", "checkpoint[segments=3]"],
    "greedy": ["greedy", "greedy[step=per_module]"],
    "greedy_plus": ["greedy_plus", "greedy_plus[step=per_module]+checkpoint[segments=2]"],
    "dgl": ["dgl", "dgl[head=2c2f]", "dgl+checkpoint[segments=2]"],
    "infopro": ["infopro[softmax]", "infopro[contrast]", "infopro[contrast,reduction=pair]+checkpoint[segments=2]",
                "infopro[softmax,weights=1/0/0/1]"],
    "contsup": ["contsup[R0]", "contsup[E]", "contsup[R1]", "contsup[R1E]", "contsup[R2]", "contsup[R8E]",
                "contsup[M1R1E]", "contsup[M2R1E,hidden=match]", "contsup[R2,source=raw]",
                "contsup[R1E,loss=contrast,step=per_module]"],
    "backlink": ["backlink[2]", "backlink[l=4]", "backlink[1,unit=block]", "backlink[l=99]"],
    "mlaan": ["mlaan", "mlaan[c=3]", "mlaan[forwards=repeat]", "mlaan[copies=single,ema_at=before,ema_of=last]",
              "mlaan[alone=later]"],
    "mlm": ["mlm", "mlm[c=3,loss_weights=1/1]", "mlm[c=3,forwards=repeat,alone=later]"],
    "lam": ["lam", "lam[momentum=0.9]"],
    "asy_infopro": ["asy_infopro[softmax]", "asy_infopro[contrast]", "asy_infopro[contrast]+checkpoint[segments=2]",
                    "asy_infopro[softmax,cache=store]"],
    "boostresnet": ["boostresnet", "boostresnet+checkpoint[segments=2]"],
    "dib": ["dib", "dib+checkpoint[segments=2]"],
    "decoder": ["contsup[R1E]+decoder", "dgl+decoder+checkpoint[segments=2]"],
}  # fmt: skip
BASES = ("greedy", "dgl", "infopro[softmax]", "infopro[contrast]", "contsup[E]", "contsup[R2E]", "backlink[2]", "mlaan",
         "mlm", "lam")  # fmt: skip
ADDED = ("checkpoint[segments=2]", "decoder", "backlink[l=2]", "backlink[l=1,unit=block]", "mlaan", "mlm[c=3]", "lam")


def _sample_combinations(count):
    """Random sums of parts that are allowed, the same ones on every machine."""
    draw, found = random.Random(0), set()
    while len(found) < count:
        text = "+".join([draw.choice(BASES), *draw.sample(ADDED, draw.randint(1, 3))])
        try:
            found.add(str(read_spec(text)))
        except SpecError:
            continue
    return sorted(found)


NAMED = [spec for specs in SPECS.values() for spec in specs]
# Modules one after the other: what a step trains depends on the round, see test_sequential.py.
SEQUENTIAL = [spec for spec in NAMED if read_spec(spec).parts.sequential]
ALL = [*(spec for spec in NAMED if spec not in SEQUENTIAL), *_sample_combinations(24)]
EXPONENTIAL = [spec for spec in SEQUENTIAL if read_spec(spec).parts.sequential.exponential]
LOCAL = [spec for spec in ALL if read_spec(spec).parts.local_loss]
ISOLATED = [spec for spec in LOCAL if not (read_spec(spec).parts.link or read_spec(spec).parts.cascade)]


@pytest.fixture
def batch():
    return make_batch()


def modules_of(spec):
    return 4 if spec in LOCAL or spec in SEQUENTIAL else 1


def modules_without_a_loss(spec):
    """With `alone=later`, modules before the first whole window have none of their own."""
    cascade = read_spec(spec).parts.cascade
    return 0 if cascade is None or cascade.alone else cascade.modules - 1


def gradients(network):
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def plain_backprop(network, images, labels):
    """Loss and gradients of the chain by itself, by autograd."""
    chain = deepcopy(network.chain)
    loss = functional.cross_entropy(chain(images), labels)
    loss.backward()
    return loss, {f"chain.{name}": p.grad for name, p in chain.named_parameters()}, chain


def test_every_registered_method_is_in_the_conformance_suite():
    assert set(SPECS) == set(METHODS)


@pytest.mark.parametrize("spec", ALL)
def test_losses_fall_in_training(spec, batch):
    network = build(spec, modules_of(spec))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(torch.stack(network.training_step(*batch).losses))
        optimizer.step()
        network.finish_step()
    first, last = losses[0], losses[-1]
    assert len(first) == modules_of(spec) - modules_without_a_loss(spec)
    assert torch.isfinite(torch.stack(losses)).all()
    assert last.sum() < first.sum()
    assert last[-1] < 0.7 * first[-1]


@pytest.mark.parametrize("spec", ALL)
def test_every_trained_parameter_gets_a_gradient(spec, batch):
    network = build(spec, modules_of(spec))
    network.training_step(*batch)
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    without = [name for name, p in trained if p.grad is None or not p.grad.any()]
    # A bias in front of a batch norm has no effect: its gradient is rounding noise, or exactly 0.
    assert [name for name in without if not name.endswith("bias")] == []


@pytest.mark.parametrize("spec", [*ALL, *(spec for spec in SEQUENTIAL if spec not in EXPONENTIAL)])
def test_one_module_equals_backprop(spec, batch):
    network = build(spec, 1).double()
    images, labels = batch[0].double(), batch[1]
    loss, expected, chain = plain_backprop(network, images, labels)
    result = network.training_step(images, labels)
    assert torch.equal(result.losses[-1], loss)
    found = gradients(network)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    for name, buffer in chain.named_buffers():
        assert torch.equal(network.chain.get_buffer(name), buffer), f"running statistics differ: {name}"


@pytest.mark.parametrize("spec", [*ALL, *SEQUENTIAL])
def test_the_same_seed_gives_the_same_step(spec, batch):
    first, second = build(spec, modules_of(spec), seed=3), build(spec, modules_of(spec), seed=3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.training_step(*batch).losses, second.training_step(*batch).losses, strict=True)
    )
    assert all(torch.equal(a, gradients(second)[name]) for name, a in gradients(first).items())


@pytest.mark.parametrize("spec", ISOLATED)
@pytest.mark.parametrize("module", range(4))
def test_a_local_loss_trains_its_own_module_and_nothing_else(spec, module, batch):
    network = build(spec, 4)
    groups = network.module_parameters()
    trained = []

    def after_module(k):
        if k == module:
            trained.extend(p for p in network.parameters() if p.grad is not None)
        for p in network.parameters():
            p.grad = None

    network.training_step(*batch, after_module=after_module)
    assert {id(p) for p in trained} == {id(p) for p in groups[module]}


@pytest.mark.parametrize("spec", [*ALL, *SEQUENTIAL])
def test_module_parameters_are_all_parameters_once(spec):
    network = build(spec, modules_of(spec))
    grouped = [id(p) for group in network.module_parameters() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("spec", ALL)
def test_the_deployed_network_has_no_auxiliary(spec, batch):
    network = build(spec, modules_of(spec)).eval()
    images, _ = batch
    with torch.no_grad():
        before = network(images)
        for auxiliary in (*network.auxiliaries.values(), *network.windows.values()):
            for parameter in auxiliary.parameters():
                parameter.fill_(torch.nan)
        assert torch.equal(network(images), before)
        if not network.junctions:
            assert torch.equal(network.chain(images), before)
    assert before.shape == (16, 10)


@pytest.mark.parametrize("spec", [spec for spec in ALL if "R1" in spec or "[E" in spec])
def test_inference_depends_on_every_context_network(spec, batch):
    network = build(spec, 4).eval()
    images, _ = batch
    with torch.no_grad():
        before = network(images)
        for junction in network.junctions:
            for encoder in (*([junction.image] if junction.image else []), *junction.features):
                changed = deepcopy(network)
                target = dict(changed.named_modules())[
                    next(name for name, member in network.named_modules() if member is encoder)
                ]
                for parameter in target.parameters():
                    parameter.add_(0.5)
                assert not torch.allclose(changed(images), before)


@pytest.mark.parametrize("spec", ["greedy", "dgl", "infopro[contrast]", "contsup[R1E]", "contsup[R1E]+decoder"])
def test_stepping_each_module_at_once_equals_one_step_at_the_end(spec, batch):
    at_end = build(spec, 4).double()
    per_module = deepcopy(at_end)
    images, labels = batch[0].double(), batch[1]
    one = torch.optim.SGD(at_end.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    many = [
        torch.optim.SGD(group, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
        for group in per_module.module_parameters()
    ]

    def step_module(k):
        many[k].step()
        many[k].zero_grad()

    for _ in range(3):
        one.zero_grad()
        at_end.training_step(images, labels)
        one.step()
        per_module.training_step(images, labels, after_module=step_module)
    for a, b in zip(at_end.parameters(), per_module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_contsup_without_context_is_dgl(batch):
    contsup, dgl = build("contsup[R0]", 4), build("dgl", 4)
    assert all(
        torch.equal(a, b)
        for a, b in zip(contsup.training_step(*batch).losses, dgl.training_step(*batch).losses, strict=True)
    )
    assert all(torch.equal(a, gradients(dgl)[name]) for name, a in gradients(contsup).items())


def test_contsup_r1e_is_e_at_two_modules():
    r1e, e = build("contsup[R1E]", 2), build("contsup[E]", 2)
    assert [name for name, _ in r1e.named_parameters()] == [name for name, _ in e.named_parameters()]


def test_context_follows_the_recurrence_of_the_paper(batch):
    """g_k = h_k + E_k(x) + R_k1(g_{k-1}), written out; the first junction has no R."""
    network = build("contsup[R1E]", 4).eval()
    images, _ = batch
    stages = [[network.chain.units[unit] for unit in units] for units in network.split.modules()]
    e = [junction.image for junction in network.junctions]
    r = [junction.features[0] for junction in network.junctions[1:]]

    def run(units, features):
        for unit in units:
            features = unit(features)
        return features

    with torch.no_grad():
        g1 = run(stages[0], images) + e[0](images)
        g2 = run(stages[1], g1) + e[1](images) + r[0](g1)
        g3 = run(stages[2], g2) + e[2](images) + r[1](g2)
        torch.testing.assert_close(network(images), network.chain.head(run(stages[3], g3)))


def test_local_losses_are_weighted_as_published(batch):
    network = build("infopro[softmax,weights=3/0.5/1/2]", 4)
    images, labels = batch
    losses = network.training_step(images, labels).losses
    fresh = build("infopro[softmax,weights=3/0.5/1/2]", 4)
    features = images
    for k, weights in enumerate([(3, 0.5), (2, 1.25), (1, 2)]):
        for unit in fresh.split.modules()[k]:
            features = fresh.chain.units[unit](features)
        decoder, local_loss = fresh.auxiliaries[str(k)].terms.values()
        expected = weights[0] * decoder(features, images, labels)
        expected = expected + weights[1] * functional.cross_entropy(local_loss.head(features), labels)
        torch.testing.assert_close(losses[k], expected.detach())


def test_checkpointing_keeps_only_segment_inputs_alive(batch):
    kept = {}
    for spec in ("e2e", "checkpoint[segments=3]"):
        network, sizes = build(spec, 1), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            network.training_step(*batch)
        kept[spec] = sizes
    assert len(kept["checkpoint[segments=3]"]) < len(kept["e2e"]) / 3


@pytest.mark.parametrize("spec", [*ALL, *SEQUENTIAL])
def test_a_step_never_asks_the_device_for_a_number(spec):
    """On tensors without data, `.item()` and shapes that depend on data raise."""
    with torch.device("meta"):
        network = build(spec, modules_of(spec))
        network.training_step(torch.empty(4, 3, 8, 8), torch.empty(4, dtype=torch.long))


def test_the_engine_announces_every_piece_of_a_step_in_order(batch):
    network, seen = build("contsup[E]", 2, split="2,5"), []

    class Scope:
        def __init__(self, *where):
            self.where = where

        def __enter__(self):
            seen.append(self.where)

        def __exit__(self, *_):
            seen.append(("end", *self.where))

    network.observe = Scope
    network.training_step(*batch, after_module=lambda k: None)
    starts = [where for where in seen if where[0] != "end"]
    assert starts == [
        ("unit", 0, 0), ("unit", 0, 1), ("auxiliary", 0, None), ("backward", 0, None), ("optimizer", 0, None),
        ("context", 0, None),
        *(("unit", 1, unit) for unit in range(2, 7)), ("head", 1, None), ("backward", 1, None), ("optimizer", 1, None),
    ]  # fmt: skip
    assert len(seen) == 2 * len(starts)


def test_only_one_module_is_alive_at_a_time(batch):
    """A local loss, and with it the graph of its module, is gone before the next module's forward."""
    network, losses, alive = build("dgl", 4), [], []

    class Scope:
        def __init__(self, phase, module, unit):
            self.phase, self.module = phase, module

        def __enter__(self):
            if self.phase == "unit":
                alive.append(sum(loss() is not None for loss in losses))

        def __exit__(self, *_):
            pass

    network.observe = Scope

    def remember(module, inputs, output):
        losses.append(weakref.ref(output))

    for auxiliary in network.auxiliaries.values():
        auxiliary.register_forward_hook(remember)
    network.training_step(*batch)
    assert len(losses) == 3
    assert max(alive) == 0


@pytest.mark.parametrize(
    ("spec", "module_count", "split", "error", "message"),
    [
        ("e2e", 2, "equal", SplitError, "trains the network as one module .modules: 2."),
        ("infopro[weights=0/0]", 2, "equal", ValueError, "would have no loss: both its weights are 0"),
    ],
)
def test_a_method_that_cannot_be_built_says_why(spec, module_count, split, error, message):
    with pytest.raises(error, match=message):
        build(spec, module_count, split=split)
