"""Training steps whose event streams are recorded: our methods, torchvision's families, and options of training.

Each `build` makes everything on torch's default device and returns (step, network, optimizer, inputs ...), as
`bench.simulator.simulate_step` wants it; the recorder calls it with CUDA as default.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bench.cases import make_case
from bench.training import build_training

Build = Callable[[], tuple[Any, ...]]

METHODS = (
    ("e2e", 1), ("checkpoint[segments=3]", 1), ("greedy", 3), ("dgl", 3), ("dgl[step=per_module]", 3),
    ("dgl[head=2c2f]", 2), ("infopro[softmax]", 3), ("infopro[contrast]", 3), ("infopro[contrast,reduction=pair]", 2),
    ("infopro[softmax,weights=1/0/0/1]", 3), ("infopro[contrast]+checkpoint[segments=2]", 2), ("contsup[E]", 3),
    ("contsup[R1]", 3), ("contsup[R1E]", 3), ("contsup[R1E,loss=contrast]+decoder", 3), ("contsup[R4]", 4),
    ("contsup[M2R1E,hidden=match]", 7), ("contsup[R2,source=raw]", 4), ("backlink[l=2]", 3), ("backlink[l=4]", 3),
    ("contsup[E]+backlink[l=2]", 3), ("mlaan", 4), ("mlaan[forwards=repeat]", 4), ("mlm[c=3]", 4), ("lam", 3),
    ("infopro[contrast]+mlaan", 3), ("mlaan[copies=single,ema_at=before]+checkpoint[segments=2]", 3),
)  # fmt: skip
VISION = (
    ("resnet18", 8), ("resnext50_32x4d", 4), ("densenet121", 4), ("vgg11_bn", 4), ("mobilenet_v2", 8),
    ("squeezenet1_1", 8),
    ("shufflenet_v2_x1_0", 8), ("efficientnet_b0", 4), ("mnasnet0_5", 8), ("convnext_tiny", 4), ("vit_b_16", 4),
    ("swin_t", 4),
)  # fmt: skip


def of_method(spec: str, modules: int) -> Build:
    """A method on a CIFAR ResNet of 14 layers, batch 64."""

    def build() -> tuple[Any, ...]:
        case = make_case(method=spec, network="cifar_resnet14", module_count=modules, batch_size=64)
        training = build_training(case, torch.get_default_device())
        return training.step, training.network, *training.optimizers

    return build


def of_vision(name: str, batch: int) -> Build:
    """A torchvision network on ImageNet's shapes."""

    def build() -> tuple[Any, ...]:
        network = getattr(torchvision.models, name)()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        images, labels = torch.empty(batch, 3, 224, 224), torch.zeros(batch, dtype=torch.long)

        def step() -> None:
            optimizer.zero_grad()
            functional.cross_entropy(network(images), labels).backward()
            optimizer.step()

        return step, network, optimizer, images, labels

    return build


class Language(nn.Module):
    """Embedding, transformer layers and a tied-size output: what a small language model does."""

    def __init__(self, *, recompute: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 256, dropout, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(3)
        )
        self.norm, self.output = nn.LayerNorm(128), nn.Linear(128, 1000)
        self.recompute = recompute

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (batch, length, 1000) of tokens (batch, length)."""
        features = self.embedding(tokens)
        for layer in self.layers:
            features = checkpoint(layer, features, use_reentrant=False) if self.recompute else layer(features)
        return self.output(self.norm(features))


def of_language(
    *,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    accumulate: int = 1,
    clip: bool = False,
    **network_options: Any,
) -> Build:
    """A small language model, batch 8, 64 tokens."""

    def build() -> tuple[Any, ...]:
        network = Language(**network_options)
        update = optimizer(network.parameters(), lr=1e-3)
        tokens = torch.zeros(8, 64, dtype=torch.long)

        def step() -> None:
            update.zero_grad()
            for _ in range(accumulate):
                functional.cross_entropy(network(tokens).flatten(0, 1), tokens.flatten()).backward()
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            update.step()

        return step, network, update, tokens

    return build


CASES: dict[str, Build] = {
    **{f"{spec} K={modules}": of_method(spec, modules) for spec, modules in METHODS},
    **{f"{name} batch {batch}": of_vision(name, batch) for name, batch in VISION},
    "language model, AdamW": of_language(),
    "language model, fused AdamW": of_language(optimizer=partial(torch.optim.AdamW, fused=True)),
    "language model, AdamW one by one": of_language(optimizer=partial(torch.optim.AdamW, foreach=False)),
    "language model, SGD": of_language(optimizer=torch.optim.SGD),
    "language model, RMSprop": of_language(optimizer=torch.optim.RMSprop),
    "language model, accumulation": of_language(accumulate=3),
    "language model, clipping": of_language(clip=True),
    "language model, recomputation": of_language(recompute=True),
    "language model, dropout": of_language(dropout=0.1),
}
