"""Training steps in torch and torchvision alone, which `record_device.py` records on a device.

Nothing here is shared with what it is compared with: networks, local losses and steps are written once more, after the
papers, so that a mistake of the project's own networks cannot hide in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = {16: (32, 2), 32: (64, 2), 64: (64, 1)}
"""Channels and stride of a classifier's convolution, by the channels it reads."""

Step = Callable[[Tensor, Tensor], Tensor]
"""Forwards and backwards of a batch; its loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCase:
    """What is trained, on square images."""

    make: Callable[[], nn.Module]
    batch: int
    size: int
    classes: int
    traced: bool = False
    """Whether the allocator's events are recorded as well."""

    def build(self) -> tuple[Callable[[], Tensor], nn.Module, torch.optim.Optimizer, Tensor, Tensor]:
        """A whole training step on the default device, and what it uses."""
        network = self.make().train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
        images = torch.randn(self.batch, 3, self.size, self.size)
        labels = torch.randint(self.classes, (self.batch,))
        train = network.step if isinstance(network, LocalResNet) else partial(_classify, network)

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = train(images, labels)
            optimizer.step()
            return loss

        return step, network, optimizer, images, labels


def _classify(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    loss = functional.cross_entropy(network(images), labels)
    loss.backward()
    return loss.detach()


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class Block(nn.Module):
    """Residual block of a CIFAR network; a convolution leads past it where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            past = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(past, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


class Auxiliary(nn.Module):
    """Local classifier, and decoder to the image before it was normalised."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, *, decoder: bool) -> None:
        super().__init__()
        width, stride = WIDTHS[channels]
        self.classifier = nn.Sequential(
            _conv3x3(channels, width, stride), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(), nn.Linear(width, 128), nn.ReLU(inplace=True), nn.Linear(128, 10),
        )  # fmt: skip
        self.decoder = None
        if decoder:
            self.decoder = nn.Sequential(
                nn.Conv2d(channels, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1),
                nn.Sigmoid(),
            )  # fmt: skip
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.25))

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        loss = functional.cross_entropy(self.classifier(features), labels)
        if self.decoder is None:
            return loss
        up = functional.interpolate(features, size=images.shape[-2:], mode="bilinear", align_corners=True)
        target = (images * self.std + self.mean).clamp(0, 1)
        return 5.0 * functional.binary_cross_entropy(self.decoder(up), target) + 0.1 * loss


class LocalResNet(nn.Module):
    """CIFAR ResNet trained in local modules that end after the units in `cuts`; without any, end to end."""

    def __init__(self, blocks: int, cuts: Sequence[int], *, decoder: bool) -> None:
        super().__init__()
        units: list[nn.Module] = [nn.Sequential(_conv3x3(3, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))]
        widths, inputs = [16], 16
        for stage, width in enumerate((16, 32, 64)):
            for block in range(blocks):
                units.append(Block(inputs, width, 2 if stage and not block else 1))
                widths.append(width)
                inputs = width
        self.units, self.cuts = nn.ModuleList(units), frozenset(cuts)
        auxiliaries = {str(cut): Auxiliary(widths[cut], decoder=decoder) for cut in sorted(cuts)}
        self.auxiliaries = nn.ModuleDict(auxiliaries)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(64, 10))

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        h = images
        for number, unit in enumerate(self.units):
            h = unit(h)
            if number in self.cuts:
                loss = self.auxiliaries[str(number)](h, images, labels)
                loss.backward()
                del loss
                h = h.detach()
        loss = functional.cross_entropy(self.head(h), labels)
        loss.backward()
        return loss.detach()


def _cifar(
    blocks: int, cuts: Sequence[int], *, decoder: bool = True, batch: int = 1024, size: int = 32, **options: Any
) -> PlainCase:
    make = partial(LocalResNet, blocks, cuts, decoder=decoder)
    return PlainCase(make=make, batch=batch, size=size, classes=10, **options)


def _vision(name: str, batch: int = 64, **options: Any) -> PlainCase:
    return PlainCase(make=getattr(torchvision.models, name), batch=batch, size=224, classes=1000, **options)


SIXTEEN = (2, 5, 8, 11, 14, 17, 20, 23, 26, 30, 34, 38, 42, 46, 50)
FEW = {
    "resnet110 e2e": _cifar(18, ()),
    "resnet110 infopro 13,14,14,14": _cifar(18, (12, 26, 40)),
    "resnet110 dgl equal 16": _cifar(18, SIXTEEN, decoder=False),
    "resnet110 infopro every unit": _cifar(18, range(54)),
    "resnet32 e2e": _cifar(5, (), traced=True),
    "resnet32 infopro 2 x 8": _cifar(5, (1, 3, 5, 7, 9, 11, 13), traced=True),
    "resnet32 dgl every unit": _cifar(5, range(15), decoder=False),
    "resnet50": _vision("resnet50", traced=True),
}
CASES = FEW | {
    "resnet110 e2e 96": _cifar(18, (), batch=128, size=96),
    "resnet34": _vision("resnet34", 128),
    "resnet101": _vision("resnet101", 128),
    "resnet152": _vision("resnet152", 128),
    **{name: _vision(name) for name in ("resnext101_32x8d", "densenet121", "vgg11_bn", "vit_b_16", "mobilenet_v2")},
}


def name_key(name: str, batch: int, *, tf32: bool) -> str:
    """What a case is called in a record."""
    return f"{name}, batch {batch}, tf32 {tf32}"
