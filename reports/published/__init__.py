"""The papers' figures, looked up by our names of methods, networks and datasets.

Figures are of the equal split unless the paper stars the method (`InfoPro*`): those are of its memory-balanced split,
and answer only for the policy `balanced`. An explicit split has no published figure.
"""

import csv
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal

Metric = Literal[
    "training_memory", "overhead_theoretical", "overhead_wall_time", "train_time_per_batch", "inference_time"
]

RATIO = "x E2E"

DATASETS = {"cifar10": "CIFAR-10", "svhn": "SVHN", "stl10": "STL-10"}
IMAGE_SIZES = {"cifar10": 32, "svhn": 32, "stl10": 96}
"""Height and width in pixels of the images all published figures are of."""
NETWORKS = {"resnet32": "ResNet-32", "resnet110": "ResNet-110"}

WHOLE = {
    "e2e": ("E2E", "E2E (BP)", "backbone only (E2E/DGL/InfoPro inference graph)"),
    "checkpoint": ("Gradient checkpointing",),
}
"""Methods that train the network as one module: the split policy says nothing about them."""
EQUAL = {
    "greedy": ("Greedy SL",),
    "dgl": ("DGL", "DGL (R0)"),
    "infopro[softmax]": ("InfoPro (softmax)", "InfoPro"),
    "infopro[contrast]": ("InfoPro (contrast)", "InfoPro"),
    "contsup[R0]": ("DGL", "DGL (R0)"),
    "contsup[E]": ("ContSup[E]",),
    "contsup[R1]": ("ContSup[R1]",),
    "contsup[R1E]": ("ContSup[R1E]",),
}
"""Our method -> what the papers call it under the equal split. A plain `InfoPro` does not state its loss."""
BALANCED = {"infopro[softmax]": ("InfoPro* (softmax)",), "infopro[contrast]": ("InfoPro* (contrast)",)}
"""Our method -> what the papers call it under their memory-balanced splits."""

SOURCES = {
    "InfoPro Table 3": "batch 1024 (STL-10: 128), one Titan Xp; memory is the least with which training runs; InfoPro "
    "on memory-balanced splits only",
    "MLAAN Table 3": "batch 1024; tool, definition of memory and GPU not stated",
    "ContSup Table 4": "batch 1024; tool and definition of memory not stated, no E2E row",
    "ContSup Table 10": "fits one pass over the 10,000 test images, of which most is loading; GPU not stated",
    "ContSup Table 12": "batch 1024, most of a step is loading; GPU and the loss of InfoPro not stated",
}
"""Under which conditions the papers took the figures that reports show."""


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One cell of a paper's table."""

    value: float
    unit: str
    """As printed: `GB`, `s` or `%`; `x E2E` for a ratio."""
    paper: str
    table: str

    @property
    def source(self) -> str:
        """Paper and table, such as `InfoPro Table 3`."""
        return f"{self.paper} {self.table}"


def published(
    metric: Metric, dataset: str, network: str, method: str, module_count: int, split_policy: str = "equal"
) -> PublishedFigure | None:
    """The published figure of a case, in our names; of the E2E of ResNet-110 it is InfoPro's, not MLAAN's.

    Args:
        metric: which figure.
        dataset: such as `cifar10`.
        network: such as `resnet110`.
        method: canonical spec, such as `infopro[contrast]`.
        module_count: K; end-to-end training and checkpointing are published without one.
        split_policy: `equal`, `balanced`, or explicit sizes, which nobody published.

    Returns:
        None where no paper prints it.
    """
    found = _figures(metric, dataset, network, method, module_count, split_policy)
    return found[0] if found else None


def published_ratio(
    metric: Metric, dataset: str, network: str, method: str, module_count: int, split_policy: str = "equal"
) -> PublishedFigure | None:
    """The published figure over the E2E figure of the same paper, table, dataset and network.

    Ratios are what can be compared: the papers define memory differently, and time other spans on other machines.

    Returns:
        None where the figure or that table's E2E is missing, as in ContSup's Table 4.
    """
    references = {figure.source: figure.value for figure in _figures(metric, dataset, network, "e2e", 1, "equal")}
    for figure in _figures(metric, dataset, network, method, module_count, split_policy):
        if figure.source in references:
            return replace(figure, value=figure.value / references[figure.source], unit=RATIO)
    return None


def published_step_ratio(
    dataset: str, network: str, method: str, module_count: int, split_policy: str = "equal"
) -> PublishedFigure | None:
    """Published step time over that of E2E: of printed times, or else from a printed overhead in per cent."""
    ratio = published_ratio("train_time_per_batch", dataset, network, method, module_count, split_policy)
    if ratio is not None:
        return ratio
    overhead = published("overhead_wall_time", dataset, network, method, module_count, split_policy)
    return None if overhead is None else replace(overhead, value=1 + overhead.value / 100, unit=RATIO)


def _figures(
    metric: str, dataset: str, network: str, method: str, module_count: int, split_policy: str
) -> list[PublishedFigure]:
    place = (metric, DATASETS.get(dataset), NETWORKS.get(network))
    if method in WHOLE:
        keys = [(*place, name, count) for name in WHOLE[method] for count in ("1", "")]
    else:
        names = {"equal": EQUAL, "balanced": BALANCED}.get(split_policy, {}).get(method, ())
        keys = [(*place, name, str(module_count)) for name in names]
    return [figure for key in keys for figure in _read_figures().get(key, ())]


@cache
def _read_figures() -> dict[tuple[str | None, ...], list[PublishedFigure]]:
    """Figures by (metric, dataset, network, method, K), all as the papers write them."""
    figures: dict[tuple[str | None, ...], list[PublishedFigure]] = {}
    text = files(__name__).joinpath("paper_numbers.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        key = tuple(row[name] for name in ("metric", "dataset", "network", "method", "K"))
        figure = PublishedFigure(float(row["value"]), row["unit"], row["paper"], row["table"])
        figures.setdefault(key, []).append(figure)
    return figures
