"""Which kernel `scaled_dot_product_attention` runs on a CUDA device.

Source: `ATen/native/transformers/cuda/sdp_utils.cpp` (`select_sdp_backend` and the checks it asks), for dense inputs.
"""

from typing import Literal

import torch
from torch import Tensor

from bench.simulator.operators import Device

Backend = Literal["cudnn", "flash", "efficient", "math"]
_NARROW = (torch.float16, torch.bfloat16)
_CUDNN_STEPS_SINCE = (2, 12)
"""torch version from which cuDNN is given a dropout probability only where it is a multiple of 1/16."""
_CUDNN_WIDTHS_SINCE = (2, 14)
"""torch version from which cuDNN is given some widths above 128 alone for training."""
_SHARED_KEYS_SINCE = (2, 14)
"""torch version from which the memory-efficient kernel takes keys that several heads share."""


def attention_backend(
    device: Device,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    *,
    enable_gqa: bool = False,
) -> Backend:
    """The first kernel in CUDA's order of preference that takes these inputs.

    Args:
        device: its compute capability and torch version decide.
        query: (batch, heads, length, width); other ranks go to the mathematical composition.
        key: (batch, heads, length, width).
        value: (batch, heads, length, width).
        mask: boolean or additive.
        dropout_p: probability.
        is_causal: whether a causal mask is implied.
        enable_gqa: whether key and value may have fewer heads.
    """
    if any(tensor.dim() != 4 or 0 in tensor.shape for tensor in (query, key, value)):  # noqa: PLR2004
        return "math"
    heads = [tensor.shape[1] for tensor in (query, key, value)]
    if not (heads[0] == heads[1] == heads[2] or enable_gqa):
        return "math"
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    dense_rows = all(tensor.stride(-1) == 1 or tensor.shape[-1] == 1 for tensor in (query, key, value))
    on = torch.backends.cuda
    cudnn = on.cudnn_sdp_enabled() and dense_rows and _is_cudnn_first(device)
    if cudnn and _takes_cudnn(device, query, key, value, dropout_p, trains):
        return "cudnn"
    if on.flash_sdp_enabled() and dense_rows and mask is None and _takes_flash(device, query, key, value, is_causal):
        return "flash"
    shared = heads[0] != heads[1] and device.torch_version < _SHARED_KEYS_SINCE
    if on.mem_efficient_sdp_enabled() and not shared and _takes_efficient(device, query, key, value):
        return "efficient"
    return "math"


def _is_cudnn_first(device: Device) -> bool:
    """check_prefer_cudnn_attention."""
    return device.capability[0] in (9, 10)


def _takes_cudnn(device: Device, query: Tensor, key: Tensor, value: Tensor, dropout_p: float, trains: bool) -> bool:
    """can_use_cudnn_attention."""
    widths = query.shape[-1], value.shape[-1]
    trained = max(widths) <= 128 or widths in ((192, 128), (256, 256))  # noqa: PLR2004
    if trains and device.torch_version >= _CUDNN_WIDTHS_SINCE and not trained:
        return False
    return (
        query.dtype in _NARROW
        and max(widths) <= 256  # noqa: PLR2004
        and all(width % 8 == 0 for width in widths)
        and key.shape[2] != 1
        and (dropout_p == 0 or query.shape[2] != 1)
        and (dropout_p * 16 % 1 == 0 or device.torch_version < _CUDNN_STEPS_SINCE)
    )


def _takes_flash(device: Device, query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> bool:
    """can_use_flash_attention."""
    width = query.shape[-1]
    return (
        device.capability >= (8, 0)
        and query.dtype in _NARROW
        and width == key.shape[-1] == value.shape[-1]
        and width <= 256  # noqa: PLR2004
        and not (is_causal and query.shape[2] != key.shape[2])
    )


def _takes_efficient(device: Device, query: Tensor, key: Tensor, value: Tensor) -> bool:
    """can_use_mem_efficient_attention."""
    narrow = query.dtype in _NARROW
    ampere = device.capability >= (8, 0)
    if query.dtype not in (torch.float32, torch.float16) and not (ampere and query.dtype == torch.bfloat16):
        return False
    bits = 16 if narrow else 32
    tensor_cores = ampere or (device.capability >= (7, 0) and narrow)
    alignment = max(4 if ampere else 1, 128 // bits if tensor_cores else 1)
    return (
        query.shape[-1] == key.shape[-1]
        and query.shape[-1] % alignment == 0
        and value.shape[-1] % alignment == 0
        and all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    )
