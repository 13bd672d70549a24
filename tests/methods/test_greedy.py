"""Greedy SL+: how much deeper its backbone is."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.cases import make_case
from bench.simulator.simulate import simulate_case
from bench.workloads.networks import UnknownNetworkError, get_network
from methods.api import Parts
from methods.auxiliary import Auxiliary
from methods.datasets import DATASETS
from methods.greedy import infopro_multiply_adds, matching_blocks

RESNET110 = (18, 18, 18)


@pytest.mark.parametrize(
    ("module_count", "blocks"), [(1, (18, 18, 18)), (2, (18, 18, 19)), (4, (19, 19, 20)), (8, (21, 21, 21)),
                                 (16, (24, 24, 24))],
)  # fmt: skip
def test_resnet110_gets_the_blocks_that_match_infopro(module_count, blocks):
    assert matching_blocks(RESNET110, 32, module_count) == blocks


def test_larger_images_need_as_many_blocks():
    """Blocks and auxiliary networks grow by the same factor."""
    assert matching_blocks(RESNET110, 96, 16) == matching_blocks(RESNET110, 32, 16)


@pytest.mark.parametrize("size", [32, 33, 96, (32, 64)])
@pytest.mark.parametrize(("unit", "stage"), [(0, 0), (2, 0), (4, 1), (6, 2)])
def test_multiply_adds_are_those_of_the_networks(unit, stage, size):
    with torch.device("meta"):
        chain = get_network("cifar_resnet14").build(DATASETS["cifar10"], size)
        parts = Parts(local_loss="contrast", decoder=True)
        terms = Auxiliary(chain, chain.unit_shapes[unit], parts, (1.0, 1.0)).terms
        features = torch.empty(2, *chain.unit_shapes[unit])
        with FlopCounterMode(display=False) as counter:
            terms["decoder"].decoder(features)
            terms["local_loss"].head(features)
    assert counter.get_total_flops() == 2 * 2 * infopro_multiply_adds(stage, size)


@pytest.mark.parametrize(("module_count", "units"), [(2, 56), (4, 59)])
def test_a_step_costs_what_infopros_does(module_count, units):
    def readings(method):
        return simulate_case(make_case(method=method, network="resnet110", module_count=module_count, batch_size=4))[0]

    plus, infopro = readings("greedy_plus"), readings("infopro[contrast,zero_weight=run]")
    assert sum(plus.split_sizes) == units
    # The blocks are whole, and the contrastive loss multiplies embeddings with each other.
    assert plus.training_flops == pytest.approx(infopro.training_flops, rel=0.02)
    assert plus.deployed_parameter_count > infopro.deployed_parameter_count


def test_an_explicit_split_names_the_units_of_the_deeper_network():
    case = make_case(method="greedy_plus", network="resnet110", module_count=2, split="28,28")
    assert case.split_policy == "28,28"


def test_only_cifar_resnets_are_deepened():
    with pytest.raises(UnknownNetworkError, match="VGG-11-BN is none: use resnet110, resnet32"):
        make_case(method="greedy_plus", network="vgg11_bn", module_count=2)
