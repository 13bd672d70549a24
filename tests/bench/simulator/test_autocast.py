"""Autocast on tensors without data beside torch's own tables and, operator by operator, its own autocast of the CPU."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.simulator import autocast, simulate_step
from bench.simulator.autocast import autocast_as_cuda
from tests.bench.simulator.recorded import recorded_on

KNOWN = {
    *autocast.NARROW, *autocast.WIDE, *autocast.WIDE_RESULT, *autocast.WIDE_NORM, *autocast.WIDEST, *autocast.REFUSED,
    *autocast.UNHANDLED,
}  # fmt: skip
NEWER = {"rms_norm", "linalg_matrix_sqrth"}
"""Operators that got a rule between the oldest torch and the newest."""


def meta(*shape, dtype=torch.float32, **options):
    return torch.empty(shape, dtype=dtype, device="meta", **options)


def test_the_rules_cover_every_operator_that_cuda_has_one_for():
    registered = {
        name.removeprefix("aten::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCUDA")
    }
    named_dimensions = {name for name in registered if "name" in name.partition(".")[2].lower()}
    assert registered - named_dimensions - KNOWN == set()
    assert KNOWN - registered <= NEWER


def test_the_stand_in_has_no_kernels_of_its_own():
    with autocast_as_cuda():
        registered = {
            name.removeprefix("aten::")
            for name in torch._C._dispatch_get_all_op_names()
            if torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastIPU")
        }
    assert registered <= KNOWN


@pytest.mark.parametrize("device_type", ["cuda", "meta"])
def test_a_region_casts_by_rule_and_ends(device_type):
    images, weight = meta(2, 3, 8, 8), meta(4, 3, 3, 3, requires_grad=True)
    narrow = meta(2, 4, dtype=torch.bfloat16)
    with autocast_as_cuda():
        with torch.autocast(device_type, torch.bfloat16):
            assert torch.conv2d(images, weight).dtype == torch.bfloat16
            assert torch.einsum("nchw,oc->nohw", images, weight[:, :, 0, 0]).dtype == torch.bfloat16
            assert narrow.exp().dtype == torch.float32
            assert narrow.sum().dtype == torch.float32
            assert narrow.sum(dtype=torch.bfloat16).dtype == torch.bfloat16
            assert narrow.norm().dtype == torch.float32
            assert torch.softmax(narrow, 1).dtype == torch.float32
            assert torch.addcmul(narrow, narrow, meta(2, 4)).dtype == torch.float32
            assert (narrow + narrow).dtype == torch.bfloat16
            assert torch.mm(meta(2, 2, dtype=torch.float64), meta(2, 2, dtype=torch.float64)).dtype == torch.float64
            with torch.autocast(device_type, enabled=False):
                assert torch.conv2d(images, weight).dtype == torch.float32
        assert torch.conv2d(images, weight).dtype == torch.float32
    assert narrow.exp().dtype == torch.bfloat16


def test_cuda_narrows_to_float16_where_nothing_is_said():
    with autocast_as_cuda(), torch.autocast("cuda"):
        assert torch.mm(meta(2, 2), meta(2, 2)).dtype == torch.float16


def test_what_a_parameter_is_cast_to_is_kept_for_the_region_and_no_longer():
    weight = nn.Parameter(meta(4, 4))
    with autocast_as_cuda():
        with torch.autocast("cuda", torch.bfloat16):
            first = torch.mm(meta(2, 4), weight).grad_fn.next_functions[1][0]
            second = torch.mm(meta(2, 4), weight).grad_fn.next_functions[1][0]
            assert first is second
            assert len(autocast._kept) == 1
        assert not autocast._kept


def test_binary_cross_entropy_is_refused_as_on_cuda():
    probabilities = meta(4)
    with (
        autocast_as_cuda(),
        torch.autocast("cuda", torch.bfloat16),
        pytest.raises(RuntimeError, match="unsafe to autocast"),
    ):
        functional.binary_cross_entropy(probabilities, probabilities)


def test_torch_is_as_before_afterwards():
    before = torch.autocast.__init__, torch.is_autocast_enabled, torch.clear_autocast_cache
    with autocast_as_cuda():
        pass
    assert (torch.autocast.__init__, torch.is_autocast_enabled, torch.clear_autocast_cache) == before
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'meta'"):
        torch.autocast("meta", torch.bfloat16)


def test_a_user_s_region_for_cuda_narrows_the_simulated_step_and_gradients_are_scaled():
    def peak_of(dtype=None, *, scaled=False):
        def build():
            network = nn.Sequential(*(layer for _ in range(12) for layer in (nn.Linear(512, 512), nn.ReLU())))
            optimizer = torch.optim.SGD(network.parameters(), 0.1)
            inputs = torch.empty(4096, 512)
            scaler = torch.amp.GradScaler("cuda", enabled=scaled)

            def step():
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype, enabled=dtype is not None):
                    loss = network(inputs).float().square().mean()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

            return step, network, optimizer, inputs

        return simulate_step(build, recorded_on()).steady.requested_bytes

    wide, narrow, scaled = peak_of(), peak_of(torch.float16), peak_of(torch.float16, scaled=True)
    assert narrow < 0.75 * wide
    assert 0 < scaled - narrow < 4096
