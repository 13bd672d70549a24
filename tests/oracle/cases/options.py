"""Options of training on one convolutional network: types, memory format, optimizers, clipping, accumulation."""

from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn

from tests.oracle.cases.train import Build, images, train

BF16, FP16 = torch.bfloat16, torch.float16


def resnet(**options: Any) -> Build:
    """ResNet-18, 16 images of 64 x 64."""
    return train(torchvision.models.resnet18, images(16, 64), **options)


def _of(name: str, **options: Any) -> Build:
    return resnet(optimizer=partial(getattr(torch.optim, name), **options))


OPTIONS: dict[str, Build] = {
    "bfloat16 autocast": resnet(autocast=BF16),
    "bfloat16 autocast, channels last": resnet(autocast=BF16, channels_last=True),
    "float16 autocast, scaled": resnet(autocast=FP16, scale=True),
    "float16 autocast, scaled, clipped": resnet(
        autocast=FP16, scale=True, clip=partial(nn.utils.clip_grad_norm_, max_norm=1.0)
    ),
    "channels last": resnet(channels_last=True),
    "all in bfloat16": train(
        lambda: torchvision.models.resnet18().bfloat16(), lambda: (torch.empty(16, 3, 64, 64, dtype=BF16),)
    ),
    "bfloat16 autocast, accumulation": resnet(autocast=BF16, accumulate=2),
    "accumulation": resnet(accumulate=3),
    "gradients kept": resnet(keep_gradients=True),
    "norm clipped": resnet(clip=partial(nn.utils.clip_grad_norm_, max_norm=1.0)),
    "norm clipped one by one": resnet(clip=partial(nn.utils.clip_grad_norm_, max_norm=1.0, foreach=False)),
    "greatest norm clipped": resnet(clip=partial(nn.utils.clip_grad_norm_, max_norm=1.0, norm_type=float("inf"))),
    "values clipped": resnet(clip=partial(nn.utils.clip_grad_value_, clip_value=0.5)),
    "SGD, plain": _of("SGD", lr=0.1),
    "SGD, weight decay, Nesterov": _of("SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "SGD, fused": _of("SGD", lr=0.1, momentum=0.9, fused=True),
    "SGD one by one": _of("SGD", lr=0.1, momentum=0.9, foreach=False),
    "Adam": _of("Adam"),
    "Adam, AMSGrad": _of("Adam", amsgrad=True),
    "Adam, fused": _of("Adam", fused=True),
    "Adam, capturable": _of("Adam", capturable=True),
    "AdamW, weight decay": _of("AdamW", weight_decay=0.1),
    "Adagrad": _of("Adagrad"),
    "Adagrad, fused": _of("Adagrad", fused=True),
    "Adadelta": _of("Adadelta"),
    "Adamax": _of("Adamax"),
    "NAdam": _of("NAdam"),
    "RAdam": _of("RAdam"),
    "RMSprop, centred": _of("RMSprop", centered=True, momentum=0.9),
    "Rprop": _of("Rprop"),
    "ASGD": _of("ASGD"),
}
