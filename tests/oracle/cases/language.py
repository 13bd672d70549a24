"""Language models."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.oracle.cases.train import Build, tokens, train


class Encoder(nn.Module):
    """Embedding, transformer layers and an output: what a small language model does."""

    def __init__(self, *, recompute: bool = False, dropout: float = 0.0, **options: Any) -> None:
        super().__init__()
        options = {"activation": "gelu", "norm_first": True, **options}
        self.embedding = nn.Embedding(1000, 128)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 256, dropout, batch_first=True, **options) for _ in range(3)
        )
        self.norm, self.output = nn.LayerNorm(128), nn.Linear(128, 1000)
        self.recompute = recompute

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, 1000) of tokens (batch, length)."""
        features = self.embedding(tokens)
        for layer in self.layers:
            features = checkpoint(layer, features, use_reentrant=False) if self.recompute else layer(features)
        return self.output(self.norm(features))


class Block(nn.Module):
    """GPT-2's block: one projection for query, key and value, causal attention, GELU by tanh."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, length, width)."""
        batch, length, width = x.shape
        split = self.qkv(self.norm1(x)).split(width, dim=2)
        query, key, value = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in split)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=self.dropout)
        x = x + self.project(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """A small GPT-2 whose output shares the embedding's weight."""

    def __init__(self, width: int = 128, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(1000, width), nn.Embedding(64, width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(3)))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, 1000, bias=False)
        self.output.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, 1000)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.output(self.norm(self.blocks(self.tokens(tokens) + self.places(places))))


class Llama(nn.Module):
    """Rotary places, RMS normalisation, grouped keys and a gated MLP, as Llama has them."""

    def __init__(self, width: int = 128, heads: int = 8, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, self.each = heads, groups, width // heads
        self.embedding = nn.Embedding(1000, width)
        self.norm1, self.norm2, self.norm3 = (nn.RMSNorm(width) for _ in range(3))
        self.query = nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, groups * self.each, bias=False) for _ in range(2))
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, 344, bias=False) for _ in range(2))
        self.down = nn.Linear(344, width, bias=False)
        self.output = nn.Linear(width, 1000, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        """Turn pairs of features by their place (batch, heads, length, each)."""
        angles = torch.outer(
            torch.arange(x.shape[2], device=x.device).float(),
            10000 ** (-torch.arange(0, self.each, 2, device=x.device).float() / self.each),
        )
        cosine, sine = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * cosine + torch.cat([-second, first], dim=-1) * sine

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, 1000)."""
        x = self.embedding(tokens)
        batch, length, width = x.shape
        normed = self.norm1(x)
        query = self.rotate(self.query(normed).view(batch, length, self.heads, -1).transpose(1, 2))
        key = self.rotate(self.key(normed).view(batch, length, self.groups, -1).transpose(1, 2))
        value = self.value(normed).view(batch, length, self.groups, -1).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        normed = self.norm2(x)
        x = x + self.down(functional.silu(self.gate(normed)) * self.up(normed))
        return self.output(self.norm3(x))


class Bag(nn.Module):
    """Text classification without attention: padded embeddings, convolutions over time, the greatest of each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2000, 64, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(64, 32, size) for size in (3, 4, 5))
        self.dropout, self.output = nn.Dropout(0.5), nn.Linear(96, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, 4)."""
        features = self.embedding(tokens).transpose(1, 2)
        found = [functional.relu(one(features)).amax(dim=2) for one in self.convolutions]
        return self.output(self.dropout(torch.cat(found, dim=1)))


class Translation(nn.Module):
    """nn.Transformer with encoder, decoder and a causal mask."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 64)
        self.transformer = nn.Transformer(64, 4, 2, 2, 128, dropout, batch_first=True)
        self.output = nn.Linear(64, 1000)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (batch, length, 1000)."""
        mask = self.transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        features = self.transformer(self.embedding(source), self.embedding(target), tgt_mask=mask, tgt_is_causal=True)
        return self.output(features)


def _next_token(logits: Tensor) -> Tensor:
    labels = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def of_language(network: Callable[[], nn.Module] = Encoder, **options: Any) -> Build:
    """A small language model, batch 8, 64 tokens, AdamW unless told otherwise."""
    options = {"optimizer": torch.optim.AdamW, **options}
    return train(network, tokens(8, 64), _next_token, **options)


def _pairs() -> tuple[Tensor, Tensor]:
    return torch.zeros(8, 24, dtype=torch.long), torch.zeros(8, 16, dtype=torch.long)


CLIP = partial(nn.utils.clip_grad_norm_, max_norm=1.0)
LANGUAGE: dict[str, Build] = {
    "language model, AdamW": of_language(),
    "language model, fused AdamW": of_language(optimizer=partial(torch.optim.AdamW, fused=True)),
    "language model, AdamW one by one": of_language(optimizer=partial(torch.optim.AdamW, foreach=False)),
    "language model, SGD": of_language(optimizer=partial(torch.optim.SGD, lr=1e-3)),
    "language model, RMSprop": of_language(optimizer=torch.optim.RMSprop),
    "language model, accumulation": of_language(accumulate=3),
    "language model, clipping": of_language(clip=CLIP),
    "language model, recomputation": of_language(partial(Encoder, recompute=True)),
    "language model, dropout": of_language(partial(Encoder, dropout=0.1)),
    "language model, dropout and recomputation": of_language(partial(Encoder, recompute=True, dropout=0.1)),
    "language model, norm last": of_language(partial(Encoder, norm_first=False, activation="relu")),
    "language model, bfloat16 autocast": of_language(autocast=torch.bfloat16),
    "language model, bfloat16 autocast, dropout and recomputation": of_language(
        partial(Encoder, recompute=True, dropout=0.1), autocast=torch.bfloat16
    ),
    "language model, float16 autocast, scaled": of_language(autocast=torch.float16, scale=True),
    "language model, float16 autocast, scaled, clipped": of_language(autocast=torch.float16, scale=True, clip=CLIP),
    "language model in bfloat16": of_language(lambda: Encoder().bfloat16()),
    "GPT": of_language(GPT),
    "GPT, bfloat16 autocast": of_language(GPT, autocast=torch.bfloat16),
    "GPT, head dimension 192, bfloat16 autocast": of_language(lambda: GPT(384, 2), autocast=torch.bfloat16),
    "GPT, dropout, bfloat16 autocast": of_language(lambda: GPT(dropout=0.1), autocast=torch.bfloat16),
    "GPT, dropout": of_language(lambda: GPT(dropout=0.1)),
    "Llama": of_language(Llama),
    "Llama, bfloat16 autocast": of_language(Llama, autocast=torch.bfloat16),
    "text convolutions": train(Bag, tokens(32, 50)),
    "translation": train(Translation, _pairs, _next_token, optimizer=torch.optim.Adam),
    "translation, bfloat16 autocast": train(
        Translation, _pairs, _next_token, optimizer=torch.optim.Adam, autocast=torch.bfloat16
    ),
}
