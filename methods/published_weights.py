"""Published weights of InfoPro's losses: lambda1 (reconstruction) and lambda2 (local loss), first and last module.

Source: commands released with InfoPro (ICLR 2021), all with the contrastive loss; ContSup reuses them.
"""

from methods.api import Weights

# (dataset, network): K -> lambda1, lambda2 of the first and of the last local module (one local module at K = 2).
EQUAL_SPLITS: dict[tuple[str, str], dict[int, tuple[float, float, float, float]]] = {
    ("cifar10", "resnet32"): {2: (5, 1, 5, 1), 4: (6, 0, 1, 2), 8: (5, 0, 0, 2), 16: (5, 0.05, 0.2, 0.5)},
    ("cifar10", "resnet110"): {2: (5, 0.5, 5, 0.5), 4: (1, 0, 0, 1), 8: (5, 0, 0, 1), 16: (5, 0, 0.5, 1)},
    ("stl10", "resnet110"): {2: (10, 1, 10, 1), 4: (20, 0.2, 5, 2), 8: (20, 0.2, 5, 1), 16: (20, 0.5, 10, 0.1)},
    ("svhn", "resnet110"): {2: (1, 0.1, 1, 0.1), 4: (5, 0, 0.5, 1), 8: (5, 0, 0.5, 2), 16: (5, 0.2, 0.5, 1)},
}
BALANCED_SPLITS: dict[tuple[str, str], dict[int, tuple[float, float, float, float]]] = {
    ("cifar10", "resnet32"): {2: (5, 0.1, 5, 0.1), 3: (5, 0, 5, 0.1), 4: (5, 0, 0, 0.1), 8: (5, 0, 0, 2)},
    ("cifar10", "resnet110"): {2: (5, 0.1, 5, 0.1), 3: (5, 0, 5, 0.1), 4: (5, 0, 5, 0.1)},
    ("stl10", "resnet110"): {2: (20, 1, 20, 1), 3: (20, 0.5, 5, 2), 4: (20, 0.5, 10, 1)},
}
UNPUBLISHED = (5.0, 0.5, 0.5, 1.0)
"""For every other cell (our choice): both losses everywhere, reconstruction early, labels late, as the published."""


def published_weights(dataset: str, network: str, module_count: int, *, equal_split: bool) -> Weights:
    """Weights published for this cell; else those of the other kind of split; else `UNPUBLISHED`."""
    tables = (EQUAL_SPLITS, BALANCED_SPLITS) if equal_split else (BALANCED_SPLITS, EQUAL_SPLITS)
    cells = (table.get((dataset, network), {}).get(module_count) for table in tables)
    values = next((cell for cell in cells if cell), UNPUBLISHED)
    return Weights(first=values[:2], last=values[2:])
