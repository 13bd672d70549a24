"""Published weights of InfoPro's losses: lambda1 (reconstruction) and lambda2 (local loss), first and last module.

Source: commands released with InfoPro (ICLR 2021) and ContSup; on CIFAR-10, SVHN and STL-10 all of them are with the
contrastive loss, on ImageNet and Cityscapes with softmax. ContSup with a decoder reuses InfoPro's for equal splits.
Departures: ContSup's command for SVHN at K = 4 says 0.5, 0 at the end instead of 0.5, 1, which we take for a slip: no
local module would then see a label.
"""

from methods.api import Weights
from methods.datasets import ImageSize, write_image_size

Values = tuple[float, float] | tuple[float, float, float, float]
"""lambda1, lambda2 of the first and of the last local module; two where they are the same."""

# (dataset, network) -> K -> values
EQUAL_SPLITS: dict[tuple[str, str], dict[int, Values]] = {
    ("cifar10", "resnet32"): {2: (5, 1), 4: (6, 0, 1, 2), 8: (5, 0, 0, 2), 16: (5, 0.05, 0.2, 0.5)},
    # K = 55 is AugLocal's, with softmax.
    ("cifar10", "resnet110"): {2: (5, 0.5), 4: (1, 0, 0, 1), 8: (5, 0, 0, 1), 16: (5, 0, 0.5, 1), 55: (5, 0, 0.5, 1)},
    ("stl10", "resnet110"): {2: (10, 1), 4: (20, 0.2, 5, 2), 8: (20, 0.2, 5, 1), 16: (20, 0.5, 10, 0.1)},
    ("svhn", "resnet110"): {2: (1, 0.1), 4: (5, 0, 0.5, 1), 8: (5, 0, 0.5, 2), 16: (5, 0.2, 0.5, 1)},
}
BALANCED_SPLITS: dict[tuple[str, str], dict[int, Values]] = {
    ("cifar10", "resnet110"): {2: (5, 0.1), 3: (5, 0, 5, 0.1), 4: (5, 0, 5, 0.1)},
    ("stl10", "resnet110"): {2: (20, 1), 3: (20, 0.5, 5, 2), 4: (20, 0.5, 10, 1)},
    ("imagenet", "resnet101"): {2: (5, 0.75)},
    ("imagenet", "resnet152"): {2: (5, 1)},
    ("imagenet", "resnext101_32x8d"): {2: (5, 0.75)},
    # At a global batch of 8; at 12 the released values are CITYSCAPES_BATCH_12.
    ("cityscapes", "deeplabv3_resnet101"): {2: (1.5, 1)},
    ("cityscapes", "deeplabv3_resnet101@640x1280"): {2: (2, 1)},
}
CITYSCAPES_BATCH_12: Values = (1, 0.1)
CONTSUP_BALANCED_SPLITS: dict[tuple[str, str], dict[int, Values]] = {
    ("cifar10", "resnet32"): {2: (5, 0.1), 3: (5, 0, 5, 0.1), 4: (5, 0, 0, 0.1), 8: (5, 0, 0, 2)},
    ("cifar10", "resnet110"): {2: (5, 0.1), 3: (5, 0, 5, 0.1), 4: (5, 0, 0, 0.1)},
}
MLAAN: Values = (5, 0.5, 0, 0)
"""Of MLAAN on InfoPro, at every K (its README)."""
UNPUBLISHED: Values = (5, 0.5, 0.5, 1)
"""For every other cell (our choice): both losses everywhere, reconstruction early, labels late, as the published."""


def published_weights(
    dataset: str,
    network: str,
    module_count: int,
    *,
    equal_split: bool,
    contsup: bool = False,
    image_size: ImageSize | None = None,
) -> Weights:
    """Weights published for this cell; else those of another kind of split; else `UNPUBLISHED`.

    Args:
        dataset: its name.
        network: its name.
        module_count: K.
        equal_split: whether modules have as many units, or boundaries are placed by memory.
        contsup: whether modules have context.
        image_size: where a cell is of one image size, which.
    """
    balanced = [CONTSUP_BALANCED_SPLITS, BALANCED_SPLITS]
    if not contsup:
        balanced.reverse()
    tables = (EQUAL_SPLITS, *balanced) if equal_split else (*balanced, EQUAL_SPLITS)
    sized = f"{network}@{write_image_size(image_size)}" if image_size else network
    cells = (table.get((dataset, name), {}).get(module_count) for table in tables for name in (sized, network))
    values = next((cell for cell in cells if cell), UNPUBLISHED)
    return Weights(first=(values[0], values[1]), last=(values[-2], values[-1]))
