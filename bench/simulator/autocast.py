"""Autocast as CUDA does it, for tensors without data.

torch's autocast looks at the device of each tensor: a region for CUDA leaves tensors on the meta device as they are.
While `autocast_as_cuda` lasts, a region for CUDA, or for the meta device, casts the arguments of tensors without data
by CUDA's rules, those of `aten/src/ATen/autocast_mode.{h,cpp}`: some operators run in the narrow type, some in float32,
some in the widest type of their arguments; what a forward casts of a parameter is kept until the outermost region ends.

The rules are kernels for the autocast key of a backend that torch ships without any (IPU), so that operators inside
other operators meet them as on CUDA.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

STAND_IN = "ipu"
"""Backend whose autocast state and dispatch key stand for CUDA's."""
_KEY_NAME = "AutocastIPU"
_KEY = getattr(torch._C.DispatchKey, _KEY_NAME)  # noqa: SLF001 - as all of torch._C here, watched by test_autocast.py
_KEYS = torch._C.DispatchKeySet(_KEY)  # noqa: SLF001

NARROW = (
    "_convolution", "_convolution.deprecated", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d",
    "conv_transpose2d.input", "conv_transpose3d.input", "convolution", "cudnn_convolution",
    "cudnn_convolution_transpose", "prelu", "addmm", "addmv", "addr", "matmul", "einsum", "mm", "mv", "linalg_vecdot",
    "linear", "addbmm", "baddbmm", "bmm", "chain_matmul", "linalg_multi_dot", "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
    "_scaled_dot_product_flash_attention", "scaled_dot_product_attention",
)  # fmt: skip
"""Operators that run in the type of the region."""
WIDE = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus", "layer_norm", "native_layer_norm",
    "group_norm", "rms_norm", "frobenius_norm.dim", "nuclear_norm", "nuclear_norm.dim", "cosine_similarity",
    "poisson_nll_loss", "cosine_embedding_loss", "nll_loss", "nll_loss2d", "hinge_embedding_loss", "kl_div", "l1_loss",
    "smooth_l1_loss", "huber_loss", "mse_loss", "margin_ranking_loss", "multilabel_margin_loss", "soft_margin_loss",
    "triplet_margin_loss", "multi_margin_loss", "binary_cross_entropy_with_logits", "dist", "pdist", "cdist", "renorm",
    "logsumexp", "linalg_matrix_sqrth", "upsample_nearest1d", "_upsample_nearest_exact1d", "upsample_nearest2d",
    "_upsample_nearest_exact2d", "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_linear1d",
    "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
)  # fmt: skip
"""Operators that run in float32."""
WIDE_RESULT = (
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "linalg_vector_norm",
    "linalg_matrix_norm", "linalg_matrix_norm.str_ord", "sum", "sum.dim_IntList",
)  # fmt: skip
"""Operators that read what they get and are asked for a float32 result, unless their caller asks for another."""
WIDE_NORM = {"norm.Scalar": "norm.ScalarOpt_dtype", "norm.ScalarOpt_dim": "norm.ScalarOpt_dim_dtype"}
"""Norms whose overload with a type is called instead."""
WIDEST = (
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler", "index_put", "tensordot",
    "scatter_add",
)  # fmt: skip
"""Operators that run in the widest type among their arguments."""
REFUSED = ("binary_cross_entropy",)
"""Operators that CUDA's autocast refuses."""
UNHANDLED = ("_cudnn_rnn",)
"""Operators with a rule on CUDA that are not known here: they run in the type of their arguments."""

_kept: dict[int, tuple[Tensor, Tensor]] = {}
"""Parameters of the region and what they were cast to, by identity."""


def _is_eligible(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_meta and value.is_floating_point() and value.dtype != torch.float64


def cast_argument(value: Any, dtype: torch.dtype) -> Any:
    """An argument as an operator in this region gets it; what a parameter was cast to is kept."""
    if isinstance(value, (list, tuple)):
        return type(value)(cast_argument(item, dtype) for item in value)
    if not _is_eligible(value) or value.dtype == dtype:
        return value
    is_parameter = value.dtype == torch.float32 and value.requires_grad and value.is_leaf and not value._is_view()  # noqa: SLF001
    if not (is_parameter and dtype == torch.get_autocast_dtype(STAND_IN) and torch.is_autocast_cache_enabled()):
        return value.to(dtype)
    if id(value) not in _kept:
        _kept[id(value)] = (value, value.to(dtype))
    return _kept[id(value)][1]


def _cast_all(args: Sequence[Any], kwargs: dict[str, Any], dtype: torch.dtype) -> tuple[list[Any], dict[str, Any]]:
    named = {name: cast_argument(value, dtype) for name, value in kwargs.items()}
    # The compiler of torch evaluates arguments from the last to the first.
    return [cast_argument(value, dtype) for value in reversed(args)][::-1], named


def _kernel_narrow(operator: Any, *args: Any, **kwargs: Any) -> Any:
    cast, named = _cast_all(args, kwargs, torch.get_autocast_dtype(STAND_IN))
    return operator(*cast, **named)


def _kernel_wide(operator: Any, *args: Any, **kwargs: Any) -> Any:
    cast, named = _cast_all(args, kwargs, torch.float32)
    return operator(*cast, **named)


def _kernel_wide_result(operator: Any, *args: Any, **kwargs: Any) -> Any:
    position = next(i for i, argument in enumerate(operator._schema.arguments) if argument.name == "dtype")  # noqa: SLF001
    given = kwargs.get("dtype") if len(args) <= position else args[position]
    if given is not None or not _is_eligible(args[0]):
        return operator(*args, **kwargs)
    fused = _FUSED.get(operator)
    if fused is not None and args[0].dtype == torch.float16:
        return fused(*args[:2], half_to_float=True)  # one kernel reads float16 and writes float32
    return operator(*args[:position], **{**kwargs, "dtype": torch.float32})


def run_bare(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call an operator on meta tensors without any autocast inside it: meta kernels are made of other operators."""
    if not torch._C._is_any_autocast_enabled():  # noqa: SLF001
        return operator(*args, **kwargs)
    with torch._C._ExcludeDispatchKeyGuard(_KEYS):  # noqa: SLF001
        return operator(*args, **kwargs)


_FUSED = {
    torch.ops.aten.softmax.int: torch.ops.aten._softmax.default,  # noqa: SLF001
    torch.ops.aten.log_softmax.int: torch.ops.aten._log_softmax.default,  # noqa: SLF001
}


def _kernel_wide_norm(operator: Any, *args: Any, **kwargs: Any) -> Any:
    if not _is_eligible(args[0]):
        return operator(*args, **kwargs)
    other = _overload(WIDE_NORM[operator._schema.name.partition("::")[2] + "." + operator._overloadname])  # noqa: SLF001
    return other(*args, **kwargs, dtype=torch.float32)


def _kernel_widest(operator: Any, *args: Any, **kwargs: Any) -> Any:
    found = [item for value in (*args, *kwargs.values()) for item in (value if isinstance(value, list) else [value])]
    wide = any(_is_eligible(item) and item.dtype == torch.float32 for item in found)
    cast, named = _cast_all(args, kwargs, torch.float32 if wide else torch.get_autocast_dtype(STAND_IN))
    return operator(*cast, **named)


def _kernel_refused(operator: Any, *_: Any, **__: Any) -> Any:
    raise RuntimeError(
        f"{operator} is unsafe to autocast, and CUDA refuses it in a region of autocast: compute it on logits"
        " (binary_cross_entropy_with_logits), or in float32 outside the region"
    )


_KERNELS: tuple[tuple[Sequence[str], Callable[..., Any]], ...] = (
    (NARROW, _kernel_narrow),
    (WIDE, _kernel_wide),
    (WIDE_RESULT, _kernel_wide_result),
    (tuple(WIDE_NORM), _kernel_wide_norm),
    (WIDEST, _kernel_widest),
    (REFUSED, _kernel_refused),
)


def _overload(name: str) -> Any:
    """The operator of a name such as `norm.Scalar`; None where this torch has none."""
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)


@cache
def _register() -> list[torch.library.Library]:
    """Give the stand-in's key its kernels, once in a process; they run where its autocast is on."""
    fallback, kernels = torch.library.Library("_", "IMPL", _KEY_NAME), torch.library.Library("aten", "IMPL", _KEY_NAME)
    fallback.fallback(torch.library.fallthrough_kernel, _KEY_NAME)
    for names, rule in _KERNELS:
        for name in names:
            operator = _overload(name)
            if operator is not None:
                kernels.impl(name, _without_the_key(rule, operator), _KEY_NAME)
    return [fallback, kernels]


def _without_the_key(rule: Callable[..., Any], operator: Any) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_KEYS):  # noqa: SLF001
            return rule(operator, *args, **kwargs)

    return kernel


def _forget_kept(clear: Callable[[], None]) -> Callable[[], None]:
    def forget() -> None:
        _kept.clear()
        clear()

    return forget


def _for_stand_in(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its first argument the stand-in where it is CUDA or the meta device."""

    def call(device_type: str = "cuda", *args: Any, **kwargs: Any) -> Any:
        return function(STAND_IN if device_type in ("cuda", "meta") else device_type, *args, **kwargs)

    return call


def _init_for_stand_in(init: Callable[..., None]) -> Callable[..., None]:
    def call(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type in ("cuda", "meta"):
            device_type = STAND_IN
            if not args and kwargs.get("dtype") is None:
                kwargs["dtype"] = torch.float16  # CUDA's, where nobody set another
        init(self, device_type, *args, **kwargs)

    return call


def _step_always(_: Any, optimizer: torch.optim.Optimizer, __: Any, *args: Any, **kwargs: Any) -> Any:
    return optimizer.step(*args, **kwargs)


@contextmanager
def autocast_as_cuda() -> Iterator[None]:
    """While it lasts, autocast and loss scaling for CUDA work on tensors without data; gradients count as finite."""
    _register()
    region, scaler = torch.amp.autocast_mode.autocast, torch.amp.GradScaler
    with ExitStack() as stack:
        stack.enter_context(torch._C._IncludeDispatchKeyGuard(_KEY))  # noqa: SLF001
        stack.enter_context(patch.object(region, "__init__", _init_for_stand_in(region.__init__)))
        for name in ("is_autocast_enabled", "get_autocast_dtype"):
            stack.enter_context(patch.object(torch, name, _for_stand_in(getattr(torch, name))))
        stack.enter_context(
            patch.object(torch.amp, "is_autocast_available", _for_stand_in(torch.amp.is_autocast_available))
        )
        stack.enter_context(patch.object(torch, "clear_autocast_cache", _forget_kept(torch.clear_autocast_cache)))
        stack.enter_context(patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False))
        stack.enter_context(patch.object(scaler, "_maybe_opt_step", _step_always))
        yield
    _kept.clear()
