"""Named splits against the table of the papers' and the released boundaries."""

import pytest

from bench.cases import make_case
from bench.splits import POLICIES, RELEASED, find_split
from bench.workloads.networks import get_network
from partition import SplitError, equal_split

MLAAN_32 = (
    "1.1,1.2,1.4,1.5,1.7,1.9,1.11,1.13,1.14,1.16,1.17,2.1,2.2,2.4,2.5,2.7,2.9,2.11,2.13,2.14,2.16,2.17,"
    "3.1,3.3,3.4,3.6,3.7,3.9,3.11,3.13,3.15"
)


def boundaries(policy, name, module_count):
    """Last units of all modules but the final one, as the papers write them."""
    network = get_network(name)
    split = find_split(policy, network, module_count)
    assert (split.unit_count, split.module_count) == (len(network.unit_names), module_count)
    return [network.unit_names[unit].removeprefix("layer") for unit in split.last_units[:-1]]


@pytest.mark.parametrize(
    ("network", "module_count", "expected"),
    [
        ("densenet_bc_100_12", 2, "2.6"),
        ("densenet_bc_100_12", 4, "1.10,2.6,3.2"),
        ("densenet_bc_100_12", 8, "1.4,1.10,t1,2.5,2.11,3.1,3.8"),
        ("densenet_bc_100_12", 16, "1.1,1.4,1.7,1.10,1.13,t1,2.2,2.5,2.8,2.11,2.14,3.0,3.3,3.7,3.11"),
        ("vgg11_bn", 2, "conv4"),
        ("vgg11_bn", 4, "conv2,conv4,conv6"),
        ("resnet34", 2, "2.3"),
        ("resnet50", 4, "1.2,2.3,3.3"),
        ("resnet34", 8, "1.0,1.2,2.1,2.3,3.1,3.3,3.5"),
        ("resnet34", 16, "stem,1.0,1.1,1.2,2.0,2.1,2.2,2.3,3.0,3.1,3.2,3.3,3.4,3.5,4.0"),
        ("resnet101", 2, "3.8"),
        ("resnext101_32x8d", 4, "2.3,3.7,3.16"),
        ("resnet101", 8, "1.2,2.3,3.3,3.7,3.11,3.15,3.20"),
        ("resnet101", 16, "1.0,1.2,2.1,2.3,3.1,3.3,3.5,3.7,3.9,3.11,3.13,3.15,3.17,3.19,3.22"),
        ("resnet152", 2, "3.12"),
        ("resnet152", 4, "2.7,3.12,3.25"),
        ("resnet152", 8, "2.1,2.7,3.5,3.11,3.17,3.24,3.31"),
        ("resnet152", 16, "1.1,2.1,2.4,2.7,3.2,3.5,3.8,3.11,3.14,3.17,3.20,3.23,3.26,3.30,3.34"),
    ],
)
def test_the_equal_rule_gives_the_papers_boundaries(network, module_count, expected):
    assert boundaries("equal", network, module_count) == expected.split(",")


@pytest.mark.parametrize(
    ("network", "module_count", "expected"),
    [
        ("resnet110", 2, "2.8"),
        ("resnet110", 3, "1.17,2.17"),
        ("resnet32", 3, "1.4,2.4"),
        ("resnet32", 4, "1.2,2.1,3.0"),
        ("resnet110", 4, "1.11,2.7,3.3"),
        (
            "resnet110",
            32,
            MLAAN_32,
        ),
        ("resnet34", 16, "1.0,1.1,1.2,2.0,2.1,2.2,2.3,3.0,3.1,3.2,3.3,3.4,3.5,4.0,4.1"),
        ("resnet152", 2, "3.13"),
    ],
)
def test_released_boundaries_are_those_of_the_code(network, module_count, expected):
    assert boundaries("released", network, module_count) == expected.split(",")


@pytest.mark.parametrize(("network", "module_count"), RELEASED)
def test_every_released_split_fits_its_network(network, module_count):
    assert len(boundaries("released", network, module_count)) == module_count - 1
    differs = RELEASED[network, module_count] != "equal"
    units = len(get_network(network).unit_names)
    assert (find_split("released", get_network(network), module_count) != equal_split(units, module_count)) == differs


def test_a_merged_stem_makes_every_block_a_module_of_its_own():
    assert find_split("merge_stem", get_network("resnet32"), 15).sizes == (2, *[1] * 14)
    assert find_split("merge_stem", get_network("resnet110"), 4).sizes == (14, 13, 14, 14)


def test_a_case_keeps_the_name_of_its_policy():
    for policy in POLICIES:
        case = make_case(method="dgl", network="resnet110@96", module_count=2, split=f" {policy} ", batch_size=2)
        assert case.split_policy == policy
    assert make_case(method="dgl", network="resnet110", module_count=2, split="2.8").split_policy == "28,27"


@pytest.mark.parametrize(
    ("policy", "network", "module_count", "message"),
    [
        ("released", "resnet110", 5, "no code was released that cuts resnet110 into 5 modules: there are K = 2, 3, 4,"),
        ("released", "vgg11_bn", 2, "cuts vgg11_bn into 2 modules: use equal"),
        ("merge_stem", "vgg11_bn", 2, "vgg11_bn has no stem to merge, its first unit is conv1: use equal"),
        ("merge_stem", "resnet32", 16, r"too few units for the modules \(units: 15, modules: 16\)"),
        ("relaesed", "resnet32", 2, "unknown unit 'relaesed'"),
    ],
)
def test_a_split_that_cannot_be_says_what_there_is(policy, network, module_count, message):
    with pytest.raises(SplitError, match=message):
        find_split(policy, get_network(network), module_count)
