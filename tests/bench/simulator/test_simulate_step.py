"""Any user's step: published peaks, recomputation, accumulation, autocast, and errors that name the place."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bench.simulator import simulate_step
from bench.simulator.model import read_model
from bench.simulator.refusals import StepError
from tests.bench.simulator.recorded import recorded_on


def resnet50():
    network = torchvision.models.resnet50()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    images, labels = torch.empty(64, 3, 224, 224), torch.empty(64, dtype=torch.long)

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step, network, optimizer, images, labels


def test_resnet50_has_the_peaks_of_the_cuda_allocator():
    """Recorded from torch 2.15's allocator, compute capability 9.0, convolutions without workspace."""
    simulation = simulate_step(resnet50, recorded_on())
    peak = simulation.steady
    assert (peak.requested_bytes, peak.allocated_bytes, peak.reserved_bytes) == (
        5_762_142_352, 5_793_708_032, 6_570_377_216,
    )  # fmt: skip
    assert simulation.failure is None
    assert simulation.holders().total() == peak.allocated_bytes


def test_resnet50_load_is_what_real_gpus_show():
    """Public readings after `resnet50().cuda()`: 102,475,264 bytes allocated, 123,731,968 reserved."""

    def build():
        network = torchvision.models.resnet50()
        return (lambda: None), network

    ledger = simulate_step(build).ledger
    assert (ledger.allocated[-1], ledger.reserved[-1]) == (102_475_264, 123_731_968)


def test_resnet18_load_is_what_real_gpus_show():
    """A public reading: 44.6904296875 MiB allocated."""

    def build():
        return (lambda: None), torchvision.models.resnet18()

    assert simulate_step(build).ledger.allocated[-1] / 2**20 == 44.6904296875


def test_submodules_name_the_places():
    simulation = simulate_step(resnet50)
    units = {unit for _, _, unit in simulation.holders()}
    assert {"conv1", "layer1.0.bn1", "layer4.2.relu"} <= units
    assert str(simulation.steady.place).startswith("backward of unit layer4.2")


class Tower(nn.Module):
    def __init__(self, recompute):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(1024, 1024), nn.GELU()) for _ in range(8))
        self.recompute = recompute

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.recompute else layer(x)
        return x


def tower(*, recompute=False, accumulate=1, dtype=None, clip=False, fused=False):
    def build():
        network = Tower(recompute)
        optimizer = torch.optim.AdamW(network.parameters(), fused=fused or None)
        inputs = torch.empty(8192, 1024)

        def step():
            optimizer.zero_grad()
            for _ in range(accumulate):
                with torch.autocast("cuda", dtype or torch.bfloat16, enabled=dtype is not None):
                    loss = network(inputs).float().square().mean()
                loss.backward()
                del loss
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        return step, network, optimizer, inputs

    return simulate_step(build, recorded_on())


def test_recomputation_saves_activations():
    plain, recomputed = tower(), tower(recompute=True)
    assert recomputed.steady.allocated_bytes < 0.7 * plain.steady.allocated_bytes


def test_accumulation_keeps_no_second_graph():
    once, four = tower(), tower(accumulate=4)
    gradients = 8 * (1024 * 1024 + 1024) * 4
    assert once.steady.allocated_bytes <= four.steady.allocated_bytes <= once.steady.allocated_bytes + gradients


def test_clipping_adds_no_more_than_one_copy_of_the_gradients():
    difference = tower(clip=True).steady.allocated_bytes - tower().steady.allocated_bytes
    assert 0 <= difference <= 8 * (1024 * 1024 + 1024) * 4


def test_the_steady_step_has_the_optimizer_state_and_the_first_one_not():
    simulation = tower()
    start = [simulation.ledger.allocated[index - 1] for index in simulation.stream.steps]
    parameters = 8 * (1024 * 1024 + 1024) * 4
    # Gradients are dropped inside the second step: they, two moments and sixteen counters are alive when it starts.
    assert start[1] - start[0] == pytest.approx(3 * parameters, rel=0.001)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        (lambda x: x.sum().item(), "aten._local_scalar_dense.default"),
        (lambda x: x.nonzero(), "aten.nonzero.default"),
        (lambda x: x[x > 0], "aten.index.Tensor"),
    ],
)
def test_a_step_that_needs_values_is_refused_with_operator_and_module(body, operator):
    class Asks(nn.Module):
        def forward(self, x):
            body(x)
            return x

    def build():
        network = nn.Sequential(nn.Linear(4, 4), Asks())
        inputs = torch.empty(2, 4)
        return (lambda: network(inputs).sum().backward()), network

    with pytest.raises(StepError, match=rf"{operator} in forward of unit 1 cannot run on tensors without data"):
        simulate_step(build)


def test_an_allocator_setting_changes_the_reserved_peak_and_not_the_requested():
    default, expandable = (
        simulate_step(resnet50),
        simulate_step(resnet50, read_model(allocator="expandable_segments:True")),
    )
    assert default.steady.requested_bytes == expandable.steady.requested_bytes
    assert expandable.steady.reserved_bytes < default.steady.reserved_bytes
