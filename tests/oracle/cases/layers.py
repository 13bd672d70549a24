"""Layers, losses and functions that other cases do not have, a few to a case."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.oracle.cases.train import Build, classify, images, train


def of_function(function: Callable[[Tensor], Tensor], *shape: int, kind: torch.dtype = torch.float32) -> Build:
    """A function on the projection of a tensor; its mean is the loss."""
    shape = shape or (32, 16, 64)
    return train(
        lambda: Projected(function, shape[-1]).to(kind),
        lambda: (torch.empty(shape, dtype=kind),),
        lambda outputs: outputs.square().mean(),
    )


class Projected(nn.Module):
    """A function of a linear projection."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int) -> None:
        super().__init__()
        self.project, self.function = nn.Linear(width, width), function

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the function makes of it."""
        return self.function(self.project(x))


def _convolutions(rank: int) -> nn.Module:
    convolution, norm, pool, adaptive = (
        getattr(nn, f"{name}{rank}d") for name in ("Conv", "BatchNorm", "MaxPool", "AdaptiveMaxPool")
    )
    return nn.Sequential(
        convolution(4, 16, 3, padding=1), norm(16), nn.ReLU(), pool(2), convolution(16, 32, 3, groups=4), nn.SiLU(),
        convolution(32, 32, 3, padding=2, dilation=2, groups=32), adaptive(2), nn.Flatten(),
        nn.Linear(32 * 2**rank, 10),
    )  # fmt: skip


def _top(x: Tensor) -> Tensor:
    values, places = x.topk(8, dim=-1)
    return values + x.gather(-1, places) + x.sort(dim=-1).values[..., :8]


def _scattered(x: Tensor) -> Tensor:
    places = torch.zeros(x.shape, dtype=torch.long, device=x.device)
    return torch.zeros_like(x).scatter_add(-1, places, x) + x.index_select(1, places[0, :, 0])


def _pieces(x: Tensor) -> Tensor:
    return torch.stack([torch.cat(x.chunk(4, dim=-1), dim=1), torch.roll(x, 1, 1).repeat_interleave(4, 1)[..., :16]])


def _masked_attention(width: int) -> Callable[[Tensor], Tensor]:
    def attend(x: Tensor) -> Tensor:
        heads = x[..., : 3 * width].reshape(*x.shape[:2], 3, width).transpose(1, 2)
        length = heads.shape[2]
        allowed = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        bias = torch.zeros(length, length, dtype=x.dtype, device=x.device)
        plain = functional.scaled_dot_product_attention(heads, heads, heads, allowed)
        return plain + functional.scaled_dot_product_attention(heads, heads, heads, bias, dropout_p=0.1)

    return attend


def _losses(x: Tensor) -> Tensor:
    target = x.detach()
    labels = torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
    return torch.stack([
        functional.mse_loss(x, target), functional.l1_loss(x, target), functional.huber_loss(x, target),
        functional.smooth_l1_loss(x, target), functional.binary_cross_entropy_with_logits(x, target),
        functional.binary_cross_entropy(x.sigmoid(), target),
        functional.kl_div(x.log_softmax(-1), target, reduction="batchmean"),
        functional.cross_entropy(x, labels, label_smoothing=0.1), functional.nll_loss(x.log_softmax(1), labels),
        functional.cosine_embedding_loss(x, target, labels), functional.triplet_margin_loss(x, target, target),
    ])  # fmt: skip


def _activations(x: Tensor) -> Tensor:
    for name in ("silu", "hardswish", "mish", "softplus", "elu", "selu", "celu", "leaky_relu", "logsigmoid", "gelu",
                 "hardtanh", "relu6", "softsign", "tanhshrink", "hardsigmoid"):  # fmt: skip
        x = getattr(functional, name)(x)
    return functional.glu(x)


LAYERS: dict[str, Build] = {
    "conv1d": train(lambda: _convolutions(1), lambda: (torch.empty(8, 4, 64),)),
    "conv2d": train(lambda: _convolutions(2), images(8, 32, 4)),
    "conv2d, channels last": train(lambda: _convolutions(2), images(8, 32, 4), channels_last=True),
    "conv2d, bfloat16 autocast": train(lambda: _convolutions(2), images(8, 32, 4), autocast=torch.bfloat16),
    "conv3d": train(lambda: _convolutions(3), lambda: (torch.empty(4, 4, 16, 16, 16),)),
    "multilayer perceptron": train(
        lambda: nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Dropout(), nn.Linear(512, 10)),
        lambda: (torch.empty(256, 128),),
        classify,
    ),
    "activations": of_function(_activations),
    "losses": of_function(_losses, 32, 64),
    "top, gather, sort": of_function(_top),
    "scatter, index": of_function(_scattered),
    "masked attention": of_function(_masked_attention(16)),
    "masked attention, 17 places": of_function(_masked_attention(16), 8, 17, 64),
    "masked attention, head dimension 18": of_function(_masked_attention(18)),
    "masked attention in bfloat16": of_function(_masked_attention(16), kind=torch.bfloat16),
    "masked attention in bfloat16, head dimension 20": of_function(_masked_attention(20), kind=torch.bfloat16),
    "cumulative": of_function(lambda x: x.cumsum(1) + x.logcumsumexp(1) + x.cummax(1).values),
    "cut, stacked, rolled": of_function(_pieces),
    "einsum": of_function(lambda x: torch.einsum("bij,bkj->bik", x, x)),
    "statistics": of_function(
        lambda x: torch.stack([x.mean(), x.var(), x.std(), x.norm(), x.logsumexp(-1).sum(), x.amax()])
    ),
    "normalised": of_function(lambda x: functional.normalize(x, dim=-1) + functional.layer_norm(x, (16, 64))),
    "softmaxes": of_function(
        lambda x: x.softmax(-1) + x.log_softmax(1) + functional.gumbel_softmax(x) + functional.softmin(x, 0)
    ),
    "where, masks": of_function(lambda x: torch.where(x > 0, x, x.exp()).masked_fill(x > 1, 0.0).tril()),
}
