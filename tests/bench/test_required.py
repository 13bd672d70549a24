"""What a step computes is what the method's definition asks for, and nothing else."""

import pytest
import torch

from bench.probes.flops import FlopCounter
from bench.probes.required import required_flops
from methods.registry import METHODS, read_spec
from tests.methods.test_engine import ALL, SPECS
from tests.methods.tiny import build, counting_without_data

BATCH = 16
UNEQUAL = "stem,1.1,2.0"


def batch():
    return torch.empty(BATCH, 3, 8, 8), torch.empty(BATCH, dtype=torch.long)


@pytest.mark.parametrize("spec", ALL)
def test_a_step_does_no_work_that_its_definition_does_not_need(spec):
    local = read_spec(spec).parts.local_loss is not None
    with torch.device("meta"):
        network = build(spec, 4 if local else 1, split=UNEQUAL if local else "equal")
    with counting_without_data() as counter:
        network.training_step(*batch())
    with counting_without_data():
        assert counter.total == required_flops(network, *batch())


def test_every_registered_method_is_held_against_its_definition():
    assert set(SPECS) == set(METHODS)


def test_the_sum_of_backprop_is_three_forwards_less_the_gradient_of_the_images():
    with torch.device("meta"):
        network = build("e2e", 1)
        with FlopCounter() as counter:
            network(batch()[0])
        stem = 2 * BATCH * 8 * 8 * 16 * 3 * 9
        assert required_flops(network, *batch()) == 3 * counter.total - stem


def test_a_window_of_two_costs_one_more_gradient_of_every_input_it_passes():
    """Shared forwards: one gradient of the weights, and one of the inputs for every loss that passes on."""
    with torch.device("meta"):
        alone, windows = (build(spec, 7) for spec in ("mlm[loss_weights=1/0.0000001]", "dgl[head=0c1f]"))
        mlm, dgl = required_flops(alone, *batch()), required_flops(windows, *batch())
        forwards = FlopCounter()
        with forwards:
            windows(batch()[0])
    units_behind_the_first = forwards.total - 2 * BATCH * (8 * 8 * 16 * 3 * 9 + 64 * 10)
    heads = (
        3 * 2 * BATCH * (2 * 16 + 2 * 32 + 64) * 10
    )  # of the windows that end in modules 2 to 6; the last has one head
    assert mlm - dgl == units_behind_the_first + heads
