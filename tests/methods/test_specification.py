"""What the methods' specification says about all of them, where no file of one part tests it.

Splits are in tests/partition/test_split.py and tests/bench/test_splits.py, losses in test_losses.py, isolation and
K = 1 in test_engine.py, links, windows and moving averages in test_overlap.py, theoretical overheads in test_heads.py,
extra inference in tests/bench/simulator/test_simulate.py.
"""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.splits import find_split
from bench.workloads.networks import get_network
from methods.context import image_encoder
from methods.datasets import DATASETS
from methods.decoders import make_decoder
from methods.engine import TrainingNetwork
from methods.registry import METHODS, read_spec
from partition import equal_split
from tests.methods.tiny import build, make_batch

E2E = 466_906
"""Parameters of ResNet-32."""
KEPT = {"contsup": "context networks stay", "greedy_plus": "the backbone is deeper", "dib": "all networks vote"}


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def on_meta(network, spec, module_count, split="equal"):
    backbone = get_network(network)
    with torch.device("meta"):
        chain = backbone.build(backbone.dataset, backbone.image_size_on(backbone.dataset))
        return TrainingNetwork(chain, find_split(split, backbone, module_count), read_spec(spec).parts)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in KEPT])
def test_the_deployed_network_of_every_method_without_context_is_the_backbone(name):
    spec = name if METHODS[name].begins is not None else f"dgl+{name}"
    method = on_meta("resnet32", spec, 4 if read_spec(spec).parts.local_loss else 1)
    assert count(method.deployed_parameters()) == E2E
    assert sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad) >= E2E


@pytest.mark.parametrize(("channels", "expected"), [(16, 2_832), (32, 10_272), (64, 38_976)])
def test_image_encoders_as_printed_have_the_width_of_their_output_throughout(channels, expected):
    assert count(image_encoder(channels, (8, 8), None).parameters()) == expected


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("stage", range(3))
def test_decoders_give_images_from_every_stage(stage, side):
    shape = (16 * 2**stage, side // 2**stage, side // 2**stage)
    decoder = make_decoder(shape, dataset=DATASETS["cifar10"], image_shape=(3, side, side))
    image = decoder(torch.randn(2, *shape))
    assert image.shape == (2, 3, side, side)
    assert image.min() > 0
    assert image.max() < 1


@pytest.mark.parametrize(
    ("network", "module_count", "trained", "averaged"),
    [("resnet34", 16, 148_997_376, 18_397_440), ("resnet101", 33, 344_640_000, 155_022_848)],
)
def test_copies_on_imagenet_are_as_large_as_the_released_ones(network, module_count, trained, averaged):
    method = on_meta(network, "lam", module_count, "merge_stem")
    copies = [auxiliary.leap_units for auxiliary in method.auxiliaries.values()]
    assert sum(count(copy.trained.parameters()) for copy in copies) == trained
    assert sum(count(copy.averaged.parameters()) for copy in copies) == averaged


@pytest.mark.parametrize(
    "spec",
    ["greedy", "dgl", "infopro[contrast]", "contsup[R2E]", "contsup[E]+decoder", "backlink[2]",
     "contsup[E]+backlink[l=2]", "mlaan", "mlm[c=3]", "mlaan[forwards=repeat]", "lam"],
)  # fmt: skip
@pytest.mark.parametrize("segments", [1, 2])
def test_checkpointing_inside_local_modules_changes_no_gradient_and_no_statistic(spec, segments):
    images, labels = make_batch()
    plain = build(spec, 3).double()
    checkpointed = build(f"{spec}+checkpoint[segments={segments}]", 3).double()
    checkpointed.load_state_dict(plain.state_dict())
    for network in (plain, checkpointed):
        network.training_step(images.double(), labels)
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-9, atol=1e-12, msg=name)
    for (name, one), other in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(one, other), name


def test_context_networks_are_trained_by_the_module_behind_them_alone():
    network = build("contsup[R2E]", 4)
    seen = {}

    def after_module(k):
        seen[k] = [any(p.grad is not None for p in junction.parameters()) for junction in network.junctions]
        for parameter in network.parameters():
            parameter.grad = None

    network.training_step(*make_batch(), after_module=after_module)
    assert seen == {k: [junction == k - 1 for junction in range(3)] for k in range(4)}


def test_averaged_copies_are_no_part_of_what_is_trained():
    network = build("lam", 4)
    averaged = {id(parameter) for parameter in network.averaged_parameters()}
    assert averaged
    assert averaged.isdisjoint(id(p) for group in network.module_parameters() for p in group)
    before = [p.detach().clone() for p in network.averaged_parameters()]
    network.training_step(*make_batch())
    assert all(torch.equal(a, b) for a, b in zip(before, network.averaged_parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.averaged_parameters())


def test_infopros_overhead_at_four_modules_follows_from_the_released_boundaries_and_not_from_print():
    """4.6 %: two boundaries in the first stage, one in the second; the paper prints 5.9."""
    method = on_meta("resnet110", "infopro[contrast,zero_weight=run]", 4, "1.6,1.14,2.8")
    features, forwards = torch.empty(1, 3, 32, 32, device="meta"), []
    with torch.no_grad():
        for units in method.split.modules()[:-1]:
            for unit in units:
                features = method.chain.units[unit](features)
            forwards.append(features)
        with FlopCounterMode(display=False) as backbone:
            method.chain(torch.empty(1, 3, 32, 32, device="meta"))
        with FlopCounterMode(display=False) as added:
            for k, output in enumerate(forwards):
                terms = method.auxiliaries[str(k)].terms
                terms["decoder"].decoder(output)
                terms["local_loss"].head(output)
    assert 100 * added.get_total_flops() / backbone.get_total_flops() == pytest.approx(4.6, abs=0.05)


def test_units_are_counted_as_the_papers_count_them():
    names = ("resnet32", "resnet110", "densenet_bc_100_12", "resnet34", "resnet101", "resnext101_32x8d", "resnet152")
    assert [len(get_network(name).unit_names) for name in names] == [16, 55, 51, 17, 34, 34, 51]
    assert equal_split(55, 8).sizes == (6, *(7,) * 7)
