"""Builds cases from what users write, checking every name and number. Imports no torch."""

import re
from typing import get_args

from bench.simulator.allocator import AllocatorSettingError
from bench.splits import name_split
from bench.workloads.networks import get_network, network_for
from methods.datasets import get_dataset, height_and_width
from methods.registry import read_spec
from partition.runs import check_runs
from results.record import Case, Compile, MemoryFormat, Optimizer, Precision

MOST_PIXELS = 2**40
"""Of a batch; tensors of one step would have more bytes than torch can count not far beyond."""
_BETWEEN_SETTINGS = r",(?![^\[]*\])"
"""A comma outside of brackets, in which a setting may have a list."""


class CaseError(ValueError):
    """A case that cannot be tried; every name in it is known."""


def make_case(
    *,
    method: str,
    network: str,
    dataset: str | None = None,
    module_count: int = 1,
    split: str = "equal",
    batch_size: int = 1024,
    precision: str = "float32",
    tf32: bool = True,
    memory_format: str = "contiguous",
    cudnn_benchmark: bool = False,
    optimizer: str | None = None,
    data: str = "synthetic",
    allocator: str = "",
    compile: str = "none",  # noqa: A002 - the option's name everywhere
) -> Case:
    """A case in canonical form.

    Args:
        method: method spec.
        network: network name.
        dataset: None for the network's own.
        module_count: K.
        split: `equal`, `balanced`, `merge_stem`, `released`, sizes or last units.
        batch_size: images per step, at least 2.
        precision: `float32`, `bfloat16` or `float16`; the narrow ones by autocast.
        tf32: whether float32 may run as TF32 on a GPU.
        memory_format: `contiguous` or `channels_last`.
        cudnn_benchmark: whether cuDNN tries its algorithms.
        optimizer: `sgd`, `adam` or `adamw`; None for the method's own.
        data: `synthetic` or `loader`.
        allocator: settings of the CUDA allocator as in `PYTORCH_ALLOC_CONF`.
        compile: mode of `torch.compile`, or `none`.

    Raises:
        ValueError: an unknown name (UnknownNetworkError, UnknownDatasetError, SpecError), a split that does not fit
            (SplitError), settings that cannot be read (AllocatorSettingError), or a combination that makes no sense
            (CaseError).
    """
    backbone = get_network(network)
    images = get_dataset(dataset) if dataset else backbone.dataset
    spec = read_spec(method)
    optimizer = optimizer or spec.parts.optimizer
    if batch_size < 2:  # noqa: PLR2004 - batch norm needs two values per channel
        raise CaseError(f"the batch needs at least 2 images, for batch norm to normalise (batch: {batch_size})")
    if spec.parts.local_loss is None and module_count != 1:
        raise CaseError(
            f"method '{spec}' trains the whole network as one module (modules: {module_count}): use --modules 1"
        )
    if data == "loader" and spec.parts.sequential and spec.parts.sequential.stored:
        raise CaseError(
            f"method '{spec}' trains on stored features, which are loaded in place of images: use synthetic data, or "
            "cache=recompute"
        )
    if images.label_per_pixel != backbone.dataset.label_per_pixel:
        needed, found = "one label per image", "a label per pixel"
        if backbone.dataset.label_per_pixel:
            needed, found = found, needed
        raise CaseError(f"{backbone.name} needs {needed}, {images.title} has {found}: use {backbone.dataset.name}")
    height, width = height_and_width(backbone.image_size_on(images))
    if min(height, width) < backbone.smallest_image:
        raise CaseError(
            f"images of {height}x{width} are too small for {backbone.name}: write {backbone.name}@"
            f"{backbone.smallest_image} or larger"
        )
    if batch_size * height * width > MOST_PIXELS:
        raise CaseError(
            f"the batch has more than {MOST_PIXELS} pixels (batch: {batch_size}, images: {height}x{width}): take fewer "
            "or smaller images"
        )
    for name, value, known in (
        ("precision", precision, Precision),
        ("memory format", memory_format, MemoryFormat),
        ("optimizer", optimizer, Optimizer),
        ("compile mode", compile, Compile),
    ):
        if value not in get_args(known):
            raise CaseError(f"unknown {name} '{value}': there are {', '.join(get_args(known))}")
    trained = network_for(spec.parts, network, module_count, backbone.image_size_on(images))
    check_runs(spec.parts.segments, len(trained.unit_names))
    return Case(
        method=str(spec),
        network=backbone.name,
        dataset=images.name,
        image_size=height,
        image_width=None if width == height else width,
        module_count=module_count,
        split_policy=name_split(split, trained, module_count),
        batch_size=batch_size,
        precision=precision,  # pyright: ignore[reportArgumentType] - checked above, as the next two
        tf32=tf32,
        memory_format=memory_format,  # pyright: ignore[reportArgumentType]
        cudnn_benchmark=cudnn_benchmark,
        optimizer=optimizer,  # pyright: ignore[reportArgumentType]
        data=data,
        allocator=sort_settings(allocator),
        compile=compile,  # pyright: ignore[reportArgumentType]
    )


def sort_settings(text: str) -> str:
    """Allocator settings sorted by name, of each the last, as torch reads them: one text for what is the same.

    Their names are not checked here: torch knows more of them than are simulated.

    Raises:
        AllocatorSettingError: not settings of the form `name:value,name:value`.
    """
    settings: dict[str, str] = {}
    for item in filter(None, (piece.strip() for piece in re.split(_BETWEEN_SETTINGS, text))):
        name, _, value = (part.strip() for part in item.partition(":"))
        if not re.fullmatch(r"[a-z_0-9]+", name) or not value:
            raise AllocatorSettingError(f"cannot read allocator setting '{item}': write name:value, name:value")
        settings[name] = value
    return ",".join(f"{name}:{value}" for name, value in sorted(settings.items()))
