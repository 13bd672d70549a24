"""The attention that CUDA runs: `torch._fused_sdp_choice` of torch 2.15 and 2.11 with cuDNN 9.26, as recorded."""

import pytest
import torch

from bench.simulator.attention_choice import attention_backend
from bench.simulator.operators import Device

H200, AMPERE, TURING = (9, 0), (8, 0), (7, 5)
FLOAT, HALF, BFLOAT, DOUBLE = torch.float32, torch.float16, torch.bfloat16, torch.float64


def choose(device, dtype, width, *, mask=False, dropout=0.0, causal=False, keys=64, heads=4, trains=True, gqa=False):
    query = torch.empty(2, 4, 64, width, dtype=dtype, device="meta", requires_grad=trains)
    key = torch.empty(2, heads, keys, width, dtype=dtype, device="meta")
    bias = torch.empty(64, keys, dtype=dtype, device="meta") if mask else None
    return attention_backend(device, query, key, key, bias, dropout, causal, enable_gqa=gqa)


@pytest.mark.parametrize(
    ("dtype", "width", "expected"),  # plain, causal, with a mask, with dropout 0.1
    [
        (FLOAT, 8, "EEEE"), (FLOAT, 20, "EEEE"), (FLOAT, 128, "EEEE"), (FLOAT, 260, "EEEE"), (FLOAT, 18, "MMMM"),
        (BFLOAT, 8, "CCCF"), (BFLOAT, 20, "FFMF"), (BFLOAT, 64, "CCCF"), (BFLOAT, 128, "CCCF"), (BFLOAT, 192, "FFEF"),
        (BFLOAT, 256, "CCCF"), (BFLOAT, 260, "MMMM"), (HALF, 16, "CCCF"), (HALF, 72, "CCCF"), (DOUBLE, 64, "MMMM"),
    ],
)  # fmt: skip
def test_torch_2_15_on_an_h200(dtype, width, expected):
    device = Device(capability=H200)
    options = ({}, {"causal": True}, {"mask": True}, {"dropout": 0.1})
    assert "".join(choose(device, dtype, width, **one)[0].upper() for one in options) == expected


def test_dropout_that_is_a_multiple_of_a_sixteenth_stays_with_cudnn():
    assert choose(Device(), BFLOAT, 64, dropout=0.125) == "cudnn"
    assert choose(Device(torch_version=(2, 11)), BFLOAT, 64, dropout=0.1) == "cudnn"


@pytest.mark.parametrize(
    ("capability", "dtype", "expected"),
    [(AMPERE, BFLOAT, "flash"), (AMPERE, FLOAT, "efficient"), (TURING, HALF, "efficient"), (TURING, BFLOAT, "math")],
)
def test_older_devices(capability, dtype, expected):
    assert choose(Device(capability=capability), dtype, 64) == expected


def test_shared_keys_need_to_be_allowed():
    assert choose(Device(), FLOAT, 64, heads=2, gqa=True) == "efficient"
    assert choose(Device(), FLOAT, 64, heads=2) == "math"


def test_switches_of_the_user_are_heard():
    with torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        assert choose(Device(), BFLOAT, 64) == "math"


def test_causal_attention_to_a_longer_past_is_not_for_flash():
    device = Device(capability=AMPERE)
    assert choose(device, BFLOAT, 64, keys=128, causal=True) == "efficient"
    assert choose(device, BFLOAT, 64, keys=128) == "flash"
