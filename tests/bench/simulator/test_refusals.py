"""What cannot be simulated is refused with the operator, the module and the way out."""

import contextlib

import pytest
import torch
from torch import nn

from bench.simulator import simulate_step
from bench.simulator.refusals import StepError


def simulate_forward(body):
    """Simulate a network whose unit 1 runs `body` on a (2, 4) tensor."""

    class Asks(nn.Module):
        def forward(self, x):
            return body(x)

    def build():
        network, inputs = nn.Sequential(nn.Linear(4, 4), Asks()), torch.empty(2, 4)
        return (lambda: network(inputs).sum().backward()), network

    return simulate_step(build)


@pytest.fixture(scope="module")
def custom_operator():
    library = torch.library.Library("simulator_tests", "DEF")
    library.define("square(Tensor x) -> Tensor")
    library.impl("square", lambda x: x * x, "CPU")
    yield torch.ops.simulator_tests.square
    library._destroy()


def on_another_stream(x):
    with torch.cuda.stream(torch.cuda.Stream()):
        return x * 2


@pytest.mark.parametrize(
    ("body", "operator", "advice"),
    [
        (lambda x: x * x.detach().sum().item(), "aten._local_scalar_dense.default", "Keep what depends on values"),
        (lambda x: x[x > 0], "aten.index.Tensor", "Keep what depends on values"),
        (lambda x: x[x.nonzero()[:, 0]], "aten.nonzero.default", "Keep what depends on values"),
        (lambda x: x + torch.ones(4, device="cpu"), "aten.add.Tensor", r"device=x\.device"),
        (torch.unique, "aten._unique2.default", "Keep what depends on values"),
        (on_another_stream, "torch.cuda.Stream", "run the step on one"),
        (lambda x: nn.LSTM(4, 4, device=x.device)(x[None])[0], "aten.lstm", "write the recurrence with cells"),
    ],
)
def test_the_error_names_operator_module_and_way_out(body, operator, advice):
    with pytest.raises(StepError, match=rf"^{operator} in forward of unit (1|LSTM) cannot .*{advice}"):
        simulate_forward(body)


def test_a_custom_kernel_needs_a_fake_one(custom_operator):
    with pytest.raises(StepError, match=r"^simulator_tests\.square\.default in forward of unit 1 .*register_fake"):
        simulate_forward(lambda x: custom_operator(x.detach()).requires_grad_())


def test_a_custom_kernel_with_a_fake_one_is_simulated(custom_operator):
    torch.library.register_fake("simulator_tests::square", torch.empty_like)
    assert simulate_forward(lambda x: custom_operator(x.detach()).requires_grad_()).steady.allocated_bytes > 0


def test_waiting_for_the_device_is_nothing():
    def waits(x):
        torch.cuda.synchronize()
        return x

    assert simulate_forward(waits).failure is None


def test_nothing_is_refused_outside_the_simulation():
    with contextlib.suppress(RuntimeError):
        torch.cuda.Stream()  # no driver is torch's own complaint
    assert nn.LSTM(4, 4)(torch.zeros(1, 2, 4))[0].shape == (1, 2, 4)
