"""Exact integers of methods.md sections 1, 3 and 7, on tensors without data."""

import pytest
import torch

from bench.workloads.networks import get_network
from methods.context import feature_encoder, image_encoder
from methods.datasets import DATASETS
from methods.decoders import make_decoder
from methods.engine import TrainingNetwork
from methods.heads import local_head
from methods.registry import read_spec
from partition import Split, equal_split

NETWORKS = {"resnet32": 466_906, "resnet110": 1_730_714}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def chain(network, dataset="cifar10"):
    return get_network(network).build(DATASETS[dataset], get_network(network).image_size or 32)


def trained(spec, network, module_count):
    backbone = chain(network)
    return TrainingNetwork(backbone, equal_split(len(backbone.units), module_count), read_spec(spec).parts)


@pytest.fixture(autouse=True)
def without_data():
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(("network", "expected"), NETWORKS.items())
def test_backbones_have_the_published_parameters(network, expected):
    assert count(chain(network)) == expected
    assert count(chain(f"{network}@96", "stl10")) == expected


@pytest.mark.parametrize(("network", "units"), [("resnet32", 16), ("resnet110", 55), ("cifar_resnet8", 4)])
def test_backbones_have_the_published_units(network, units):
    assert len(chain(network).units) == units
    assert len(get_network(network).unit_names) == units


def test_units_of_resnet110_have_the_published_parameters():
    backbone = chain("resnet110")
    counts = dict(zip(backbone.unit_names, map(count, backbone.units), strict=True))
    assert counts["stem"] == 464
    assert {counts[f"layer1.{b}"] for b in range(18)} == {4_672}
    assert counts["layer2.0"] == 14_528
    assert {counts[f"layer2.{b}"] for b in range(1, 18)} == {18_560}
    assert counts["layer3.0"] == 57_728
    assert {counts[f"layer3.{b}"] for b in range(1, 18)} == {73_984}
    assert count(backbone.head) == 650


HEADS = {
    "0c1f": ((170, 330, 650), (2_176, 4_224, 8_320)),
    "0c2f": ((3_466, 5_514, 9_610), (18_688, 20_736, 24_832)),
    "1c1f": ((5_002, 19_210, 37_642), (8_896, 26_880, 45_312)),
    "1c2f": ((10_186, 28_170, 46_602), (25_408, 43_392, 61_824)),
    "1c3f": ((26_698, 44_682, 63_114), (41_920, 59_904, 78_336)),
    "2c2f": ((19_466, 65_162, 83_594), (34_688, 80_384, 98_816)),
}


@pytest.mark.parametrize("config", HEADS)
@pytest.mark.parametrize(("outputs", "column"), [(10, 0), (128, 1)])
def test_heads_have_the_published_parameters(config, outputs, column):
    counts = tuple(
        count(local_head((channels, size, size), outputs, config)) for channels, size in ((16, 32), (32, 16), (64, 8))
    )
    assert counts == HEADS[config][column]


@pytest.mark.parametrize(("channels", "expected"), [(16, 2_091), (32, 3_819), (64, 7_275)])
def test_decoders_have_the_published_parameters(channels, expected):
    size = 512 // channels
    decoder = make_decoder((channels, size, size), dataset=DATASETS["cifar10"], image_shape=(3, 32, 32))
    assert count(decoder) == expected


@pytest.mark.parametrize(("channels", "expected"), [(16, 2_136), (32, 3_912), (64, 7_464)])
def test_image_encoders_have_the_published_parameters(channels, expected):
    assert count(image_encoder(channels, 8)) == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [(3, 16, 96), (3, 32, 192), (3, 64, 384), (16, 16, 304), (16, 32, 608), (16, 64, 1_216), (32, 32, 1_120),
     (32, 64, 2_240), (64, 64, 4_288)],
)  # fmt: skip
def test_feature_encoders_have_the_published_parameters(source, target, expected):
    assert count(feature_encoder(source, target, 8)) == expected


# Spec, network -> parameters added in training at K = 2, 4, 8, 16.
ADDED_IN_TRAINING = {
    ("dgl", "resnet32"): (28_170, 84_958, 180_102, 388_374),
    ("dgl", "resnet110"): (28_170, 84_958, 198_086, 388_374),
    ("contsup[R0]", "resnet32"): (28_170, 84_958, 180_102, 388_374),
    ("infopro[contrast,zero_weight=run]", "resnet32"): (
        43_392 + 3_819, 130_624 + 13_185, 286_656 + 28_461, 616_704 + 60_741,
    ),
    ("infopro[contrast,zero_weight=run]", "resnet110"): (
        43_392 + 3_819, 130_624 + 13_185, 304_640 + 30_189, 616_704 + 60_741,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "network"), ADDED_IN_TRAINING)
@pytest.mark.parametrize(("column", "module_count"), [*enumerate((2, 4, 8, 16))])
def test_methods_add_the_published_parameters_in_training(spec, network, column, module_count):
    method = trained(spec, network, module_count)
    assert count(method) - NETWORKS[network] == ADDED_IN_TRAINING[spec, network][column]
    assert sum(p.numel() for p in method.deployed_parameters()) == NETWORKS[network]


KEPT_AT_INFERENCE = {
    ("contsup[E]", "resnet32"): (3_912, 13_512, 29_160, 62_232),
    ("contsup[R1]", "resnet32"): (192, 2_944, 8_960, 21_808),
    ("contsup[R1E]", "resnet32"): (3_912, 16_360, 38_024, 83_944),
    ("contsup[E]", "resnet110"): (3_912, 13_512, 30_936, 62_232),
    ("contsup[R1]", "resnet110"): (192, 2_944, 9_776, 21_808),
    ("contsup[R1E]", "resnet110"): (3_912, 16_360, 40_616, 83_944),
    # From n = K - 1 on a mode is the fully connected one.
    ("contsup[R2]", "resnet32"): (192, 4_352, 15_056, 40_752),
    ("contsup[R4]", "resnet32"): (192, 4_736, 23_056, 70_048),
    ("contsup[R8]", "resnet32"): (192, 4_736, 27_664, 110_960),
    ("contsup[R16]", "resnet32"): (192, 4_736, 27_664, 136_784),
    ("contsup[R2]", "resnet110"): (192, 4_352, 16_688, 40_752),
    ("contsup[R4]", "resnet110"): (192, 4_736, 26_832, 70_048),
    ("contsup[R8]", "resnet110"): (192, 4_736, 31_440, 110_960),
    ("contsup[R16]", "resnet110"): (192, 4_736, 31_440, 136_784),
}


@pytest.mark.parametrize(("spec", "network"), KEPT_AT_INFERENCE)
@pytest.mark.parametrize(("column", "module_count"), [*enumerate((2, 4, 8, 16))])
def test_context_keeps_the_published_parameters_at_inference(spec, network, column, module_count):
    method = trained(spec, network, module_count)
    kept = sum(p.numel() for p in method.deployed_parameters()) - NETWORKS[network]
    assert kept == KEPT_AT_INFERENCE[spec, network][column]


def test_a_network_whose_weight_is_zero_is_not_built():
    skipped, run = (trained(f"infopro[contrast{option}]", "resnet110", 4) for option in ("", ",zero_weight=run"))
    # Published weights run from (1, 0) over (0.5, 0.5) to (0, 1): no head in the first module, no decoder in the third.
    assert [[*a.terms] for a in skipped.auxiliaries.values()] == [
        ["decoder"],
        ["decoder", "local_loss"],
        ["local_loss"],
    ]
    assert [[*a.terms] for a in run.auxiliaries.values()] == [["decoder", "local_loss"]] * 3
    assert count(run) - count(skipped) == 25_408 + 7_275


# Copies in the released networks: split, trained copies, averaged copies of their first units.
LEAPS = {
    ("resnet32", (2,) * 8): (1_589_952, 307_008),
    ("resnet32", (2, *(1,) * 14)): (3_165_376, 657_216),
    ("resnet110", (3, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 2, 2, 2, 2)): (
        6_756_672,
        1_460_672,
    ),
    ("resnet110", (2, *(1,) * 53)): (11_439_744, 2_558_336),
}


@pytest.mark.parametrize(("network", "sizes"), LEAPS)
def test_auxiliary_networks_copy_the_units_of_the_released_code(network, sizes):
    with torch.device("meta"):
        chain = get_network(network).build(DATASETS["cifar10"], 32)
        method = TrainingNetwork(chain, Split(sizes), read_spec("lam").parts)
    copies = [auxiliary.leap_units for auxiliary in method.auxiliaries.values()]
    assert (sum(count(c.trained) for c in copies), sum(count(c.averaged) for c in copies)) == LEAPS[network, sizes]
