"""Our methods."""

from typing import Any

import torch

from bench.cases import make_case
from bench.training import build_training
from tests.oracle.cases.train import Build

SPECS = (
    ("e2e", 1), ("checkpoint[segments=3]", 1), ("greedy", 3), ("dgl", 3), ("dgl[step=per_module]", 3),
    ("dgl[head=2c2f]", 2), ("infopro[softmax]", 3), ("infopro[contrast]", 3), ("infopro[contrast,reduction=pair]", 2),
    ("infopro[softmax,weights=1/0/0/1]", 3), ("infopro[contrast]+checkpoint[segments=2]", 2), ("contsup[E]", 3),
    ("contsup[R1]", 3), ("contsup[R1E]", 3), ("contsup[R1E,loss=contrast]+decoder", 3), ("contsup[R4]", 4),
    ("contsup[M2R1E,hidden=match]", 7), ("contsup[R2,source=raw]", 4), ("backlink[l=2]", 3), ("backlink[l=4]", 3),
    ("contsup[E]+backlink[l=2]", 3), ("mlaan", 4), ("mlaan[forwards=repeat]", 4), ("mlm[c=3]", 4), ("lam", 3),
    ("infopro[contrast]+mlaan", 3), ("mlaan[copies=single,ema_at=before]+checkpoint[segments=2]", 3),
)  # fmt: skip


def of_method(spec: str, modules: int) -> Build:
    """A method on a CIFAR ResNet of 14 layers, batch 64."""

    def build() -> tuple[Any, ...]:
        case = make_case(method=spec, network="cifar_resnet14", module_count=modules, batch_size=64)
        training = build_training(case, torch.get_default_device())
        return training.step, training.network, *training.optimizers

    return build


METHODS: dict[str, Build] = {f"{spec} K={modules}": of_method(spec, modules) for spec, modules in SPECS}
