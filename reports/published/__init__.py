"""The papers' figures, looked up by our names of methods, networks and datasets.

Figures are of the equal split unless the paper stars the method (`InfoPro*`): those are of its memory-balanced split,
and answer only for the policy `balanced`. MLAAN counts the stem as a module that its code merges into the first block,
so that its K is one more under `merge_stem`. An explicit split has no published figure, but on ImageNet and Cityscapes,
where the one boundary of InfoPro is not published.
"""

import csv
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Literal

Metric = Literal[
    "training_memory",
    "overhead_theoretical",
    "overhead_wall_time",
    "train_time_per_batch",
    "inference_time",
    "test_error",
    "top5_error",
    "mIoU_SS",
    "mIoU_MS",
    "mIoU_MS_flip",
]

RATIO = "x E2E"
PAPERS = ("InfoPro", "ContSup", "MLAAN")
"""Whose figure is shown where several print one; ContSup's tables copy InfoPro's rows."""

DATASETS = {
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
    "stl10": "STL-10",
    "imagenet": "ImageNet",
    "cityscapes": "Cityscapes",
}
IMAGE_SIZES = {"cifar10": (32, 32), "svhn": (32, 32), "stl10": (96, 96), "imagenet": (224, 224)}
"""Height and width in pixels of the images all published figures are of; Cityscapes has crops of two sizes."""
NETWORKS = {
    "resnet32": "ResNet-32",
    "resnet110": "ResNet-110",
    "densenet_bc_100_12": "DenseNet-BC-100-12",
    "vgg11_bn": "VGG-11-BN",
    "resnet34": "ResNet-34",
    "resnet101": "ResNet-101",
    "resnet152": "ResNet-152",
    "resnext101_32x8d": "ResNeXt-101-32x8d",
    "deeplabv3_resnet101": "DeepLabV3-R101",
}

WHOLE = {
    "e2e": ("E2E", "E2E (BP)", "backbone only (E2E/DGL/InfoPro inference graph)"),
    "checkpoint": ("Gradient checkpointing",),
}
"""Methods that train the network as one module: the split policy says nothing about them."""
EQUAL = {
    "greedy": ("Greedy SL",),
    "greedy_plus": ("Greedy SL+",),
    "dgl": ("DGL", "DGL (R0)"),
    "infopro[softmax]": ("InfoPro (softmax)", "InfoPro"),
    "infopro[contrast]": ("InfoPro (contrast)", "InfoPro"),
    "asy_infopro[softmax]": (),
    "asy_infopro[contrast]": ("Asy-InfoPro (contrast)",),
    "contsup[R0]": ("DGL", "DGL (R0)"),
    "contsup[E]": ("ContSup[E] (softmax)", "ContSup[E]"),
    "contsup[E,loss=contrast]": ("ContSup[E] (contrast)",),
    "contsup[R1]": ("ContSup[R1]",),
    "contsup[R1E]": ("ContSup[R1E] (softmax)", "ContSup[R1E]"),
    "contsup[R1E,loss=contrast]": ("ContSup[R1E] (contrast)",),
    "contsup[R2]": ("ContSup[R2]",),
    "contsup[R4]": ("ContSup[R4]",),
    "contsup[R8]": ("ContSup[R8]",),
    "contsup[R8E]": ("ContSup[R8E]",),
    "contsup[R16]": ("ContSup[R16]",),
    "contsup[M1R1E]": ("ContSup[M1R1E]",),
    "contsup[M2R1E]": ("ContSup[M2R1E]",),
    "backlink[2]": ("BackLink[l=2]", "BackLink"),
    "backlink[4]": ("BackLink[l=4]", "BackLink"),
    "contsup[E]+backlink[2]": ("ContSup[E] + BackLink",),
    "contsup[E]+backlink[4]": ("ContSup[E] + BackLink",),
    "mlaan": ("MLAAN",),
    "dgl+mlaan": ("DGL + MLAAN", "DGL + MLM + LAM"),
    "infopro[softmax]+mlaan": ("InfoPro + MLAAN",),
    "infopro[contrast]+mlaan": ("InfoPro + MLAAN",),
    "mlm": (),
    "dgl+mlm": ("DGL + MLM",),
    "lam": (),
    "dgl+lam": ("DGL + LAM",),
}
"""Our method -> what the papers call it under the equal split, in the order in which reports list them. A plain
`InfoPro` does not state its loss, a plain `BackLink` not how many layers it reaches."""
BALANCED = {"infopro[softmax]": ("InfoPro* (softmax)",), "infopro[contrast]": ("InfoPro* (contrast)",)}
"""Our method -> what the papers call it under their memory-balanced splits."""
EVERY_BLOCK = {"resnet32": 15, "resnet110": 54, "resnet34": 16, "resnet101": 33, "resnet152": 50}
"""K at which MLAAN's released code makes every block a module, the stem in the first."""
EXPLICIT = {"imagenet": {**EQUAL, **BALANCED}, "cityscapes": {**EQUAL, **BALANCED}}
"""Datasets on which figures of two modules answer for any boundary: the paper does not print which it used."""
SETTINGS = {
    "imagenet": {"mlaan[c=3]": "mlaan", "mlaan": None},
    "cityscapes": {"infopro[softmax,weights=1/0.1]": "infopro[softmax]"},
}
"""Method as it was run for a dataset's published figures -> the name they go by; None: figures are of other options."""

SOURCES = {
    "InfoPro Table 1": "mean of 5 trials on the equal split",
    "InfoPro Table 2": "mean of 5 trials on the equal split",
    "InfoPro Table 3": "batch 1024 (STL-10: 128), one Titan Xp; memory is the least with which training runs; InfoPro "
    "on memory-balanced splits only",
    "InfoPro Table 4": "batch 128 (ResNeXt: 64) on each of 8 V100; memory per GPU; the boundary is not printed",
    "InfoPro Table 5": "two RTX 3090, memory per GPU; savings and overheads beside E2E at batch 8, crop 512x1024; the "
    "boundary is not printed",
    "InfoPro Table 14": "mean of 5 trials on the equal split",
    "MLAAN Table 1": "mean of 3 trials, 400 epochs; loss of InfoPro not stated",
    "MLAAN Table 2": "number of trials and crops not stated",
    "MLAAN Table 3": "batch 1024 (ImageNet: 128); tool, definition of memory and GPU not stated",
    "MLAAN Table 4": "400 epochs",
    "ContSup Table 1": "loss not stated, softmax by the released commands",
    "ContSup Table 2": "mean over trials; of BackLink the best its authors report, its length not stated",
    "ContSup Table 3": "mean over trials; of BackLink the best its authors report, its length not stated",
    "ContSup Table 4": "batch 1024; tool and definition of memory not stated, no E2E row",
    "ContSup Table 9": "length of BackLink not stated",
    "ContSup Table 10": "fits one pass over the 10,000 test images, of which most is loading; GPU not stated",
    "ContSup Table 11": "network inferred; loss not stated, probably contrastive",
    "ContSup Table 12": "batch 1024, most of a step is loading; GPU and the loss of InfoPro not stated",
}
"""Under which conditions the papers took the figures that reports show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The case whose figures are looked up, in our names."""

    dataset: str
    """Such as `cifar10`."""
    network: str
    """Such as `resnet110`."""
    method: str
    """Canonical spec, such as `infopro[contrast]`."""
    module_count: int = 1
    """K; end-to-end training and checkpointing are published without one."""
    split_policy: str = "equal"
    """`equal`, `balanced`, `merge_stem`, `released`, or explicit sizes."""
    conditions: str = ""
    """Words in which a paper tells figures of one name apart, as in the column `notes`: `batch 8; crop 512x1024`."""


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One cell of a paper's table."""

    value: float
    unit: str
    """As printed: `GB`, `s` or `%`; `x E2E` for a ratio."""
    paper: str
    table: str
    notes: str = field(default="", compare=False)
    """Conditions, doubts and recomputations."""

    @property
    def source(self) -> str:
        """Paper and table, such as `InfoPro Table 3`."""
        return f"{self.paper} {self.table}"


def published(metric: Metric, place: Place, source: str | None = None) -> PublishedFigure | None:
    """The published figure of a case; where several papers print one, that of the first in `PAPERS`.

    Args:
        metric: which figure.
        place: which case.
        source: the only paper and table to look in, such as `ContSup Table 4`.

    Returns:
        None where no paper prints it.
    """
    found = [figure for figure in _figures(metric, place) if source in (None, figure.source)]
    return found[0] if found else None


def published_ratio(metric: Metric, place: Place) -> PublishedFigure | None:
    """The published figure over the E2E figure of the same paper, table, dataset, network and conditions.

    Ratios are what can be compared: the papers define memory differently, and time other spans on other machines.

    Returns:
        None where the figure or that table's E2E is missing, as in ContSup's Table 4.
    """
    e2e = replace(place, method="e2e", module_count=1, split_policy="equal")
    references = {figure.source: figure.value for figure in reversed(_figures(metric, e2e))}
    for figure in _figures(metric, place):
        if figure.source in references:
            return replace(figure, value=figure.value / references[figure.source], unit=RATIO)
    return None


def published_step_ratio(place: Place) -> PublishedFigure | None:
    """Published step time over that of E2E: of printed times, or else from a printed overhead in per cent."""
    ratio = published_ratio("train_time_per_batch", place)
    if ratio is not None:
        return ratio
    overhead = published("overhead_wall_time", place)
    return None if overhead is None else replace(overhead, value=1 + overhead.value / 100, unit=RATIO)


def printed_memory(source: str, dataset: str, network: str, method: str, module_count: str) -> float:
    """GB of training memory in one cell of a table, all names as the paper prints them.

    Args:
        source: such as `InfoPro Table 3`.
        dataset: such as `STL-10`.
        network: such as `ResNet-110`.
        method: such as `InfoPro* (softmax)`.
        module_count: K; empty where none is printed.

    Raises:
        KeyError: there is no such cell.
    """
    figures = _read_figures().get(("training_memory", dataset, network, method, module_count), [])
    for figure in figures:
        if figure.source == source:
            return figure.value
    raise KeyError(f"{source} prints no memory of {method}, {network} on {dataset}, K = {module_count or 'none'}")


def _figures(metric: Metric, place: Place) -> list[PublishedFigure]:
    where = (DATASETS.get(place.dataset), NETWORKS.get(place.network))
    figures = [
        figure
        for name, count in _printed_names(place)
        for figure in _read_figures().get((metric, *where, name, count), ())
        if place.conditions in figure.notes and (figure.paper == "MLAAN" or not _merges_stem(place))
    ]
    return sorted(figures, key=lambda figure: PAPERS.index(figure.paper))


def _printed_names(place: Place) -> list[tuple[str, str]]:
    """What the papers call a method, and its K as they print it."""
    method = SETTINGS.get(place.dataset, {}).get(place.method, place.method) or ""
    if method in WHOLE:
        return [(name, count) for name in WHOLE[method] for count in ("1", "")]
    policies = {"equal": EQUAL, "merge_stem": EQUAL, "released": EQUAL, "balanced": BALANCED}
    default = EXPLICIT.get(place.dataset, {}) if place.module_count == 2 else {}  # noqa: PLR2004 - one boundary
    names = policies.get(place.split_policy, default).get(method, ())
    return [(name, str(place.module_count + _merges_stem(place))) for name in names]


def _merges_stem(place: Place) -> bool:
    """Whether a case is cut as MLAAN's code does, which counts the stem as a module of its own but trains none."""
    every_block = place.split_policy == "released" and EVERY_BLOCK.get(place.network) == place.module_count
    return place.split_policy == "merge_stem" or every_block


SAME = {"training_memory_per_gpu": "training_memory", "top1_error": "test_error"}
"""Metric as the file has it -> the one it is looked up as."""


@cache
def _read_figures() -> dict[tuple[str | None, ...], list[PublishedFigure]]:
    """Figures by (metric, dataset, network, method, K), all as the papers write them."""
    figures: dict[tuple[str | None, ...], list[PublishedFigure]] = {}
    text = files(__name__).joinpath("paper_numbers.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        key = (SAME.get(row["metric"], row["metric"]), *(row[name] for name in ("dataset", "network", "method", "K")))
        figure = PublishedFigure(float(row["value"]), row["unit"], row["paper"], row["table"], row["notes"])
        figures.setdefault(key, []).append(figure)
    return figures
