"""Networks of torchvision, and others for images."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from tests.oracle.cases.train import Build, classify, images, train

CLASSIFIERS = (
    ("resnet18", 8), ("resnext50_32x4d", 4), ("densenet121", 4), ("vgg11_bn", 4), ("mobilenet_v2", 8),
    ("squeezenet1_1", 8), ("shufflenet_v2_x1_0", 8), ("efficientnet_b0", 4), ("mnasnet0_5", 8), ("convnext_tiny", 4),
    ("vit_b_16", 4), ("swin_t", 4), ("alexnet", 8), ("mobilenet_v3_small", 8), ("efficientnet_v2_s", 2),
    ("wide_resnet50_2", 2), ("maxvit_t", 2), ("swin_v2_t", 2),
)  # fmt: skip


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(**options)


def _moved(name: str) -> Callable[[], nn.Module]:
    """A network that computes its widths with tensors, and so is built on the CPU."""

    def make() -> nn.Module:
        device = torch.get_default_device()
        with torch.device("cpu"):
            network = getattr(torchvision.models, name)()
        return network.to(device)

    return make


def _segmentation(name: str) -> Callable[[], nn.Module]:
    make = getattr(torchvision.models.segmentation, name)
    return lambda: make(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)


def _two_maps(outputs: dict[str, Tensor]) -> Tensor:
    return classify(outputs["out"]) + 0.4 * classify(outputs["aux"])


def _two_heads(outputs: Any) -> Tensor:
    return classify(outputs.logits) + 0.4 * classify(outputs.aux_logits)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Three levels, joined by concatenation; up by transposed convolution or by interpolation."""

    def __init__(self, *, interpolate: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList([_double(3, 32), _double(32, 64), _double(64, 128)])
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2 * width, width, 1))
            if interpolate
            else nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            for width in (64, 32)
        )
        self.join = nn.ModuleList([_double(128, 64), _double(64, 32)])
        self.out = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 5, height, width)."""
        x1 = self.down[0](x)
        x2 = self.down[1](functional.max_pool2d(x1, 2))
        x = self.down[2](functional.max_pool2d(x2, 2))
        for up, join, skip in zip(self.up, self.join, (x2, x1), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.out(x)


def _generator() -> nn.Module:
    widths, layers = (100, 256, 128, 64), []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, *((1, 0) if index == 0 else (2, 1)), bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


def _discriminator() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(128, 1, 8, bias=False), nn.Sigmoid(),
    )  # fmt: skip


def dcgan() -> tuple[Any, ...]:
    """Two networks that train against each other, two optimizers."""
    generator, discriminator = _generator(), _discriminator()
    adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
    optimizers = adam(generator.parameters()), adam(discriminator.parameters())
    real, noise = torch.empty(16, 3, 32, 32), torch.empty(16, 100, 1, 1)
    ones, zeros = torch.ones(16), torch.zeros(16)

    def judge(pictures: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy(discriminator(pictures).flatten(), labels)

    def step() -> None:
        fake = generator(noise)
        optimizers[1].zero_grad()
        judge(real, ones).backward()
        judge(fake.detach(), zeros).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        judge(fake, ones).backward()
        optimizers[0].step()

    return step, generator, discriminator, *optimizers, real, noise, ones, zeros


def _super_resolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 5, padding=2), nn.PReLU(64), nn.Conv2d(64, 64, 3, padding=1),
        nn.InstanceNorm2d(64, affine=True),
        nn.Hardswish(), nn.Conv2d(64, 27, 3, padding=1), nn.PixelShuffle(3),
    )  # fmt: skip


VISION: dict[str, Build] = {
    **{f"{name} batch {batch}": train(_torchvision(name), images(batch, 224)) for name, batch in CLASSIFIERS},
    "regnet_y_400mf built on the CPU, batch 4": train(_moved("regnet_y_400mf"), images(4, 224)),
    "googlenet batch 4": train(_torchvision("googlenet", aux_logits=False, init_weights=False), images(4, 224)),
    "inception_v3 batch 2": train(_torchvision("inception_v3", init_weights=False), images(2, 299), _two_heads),
    "fcn_resnet50 batch 2": train(_segmentation("fcn_resnet50"), images(2, 128), _two_maps),
    "deeplabv3_resnet50 batch 2": train(_segmentation("deeplabv3_resnet50"), images(2, 128), _two_maps),
    "lraspp_mobilenet_v3_large batch 2": train(
        lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None),
        images(2, 128),
        lambda outputs: classify(outputs["out"]),
    ),
    "r3d_18 batch 1": train(torchvision.models.video.r3d_18, lambda: (torch.empty(1, 3, 8, 56, 56),)),
    "U-Net": train(UNet, images(4, 64)),
    "U-Net, bilinear": train(lambda: UNet(interpolate=True), images(4, 64)),
    "DCGAN": dcgan,
    "super resolution": train(
        _super_resolution, images(4, 48), lambda outputs: functional.l1_loss(outputs, outputs.detach())
    ),
}
