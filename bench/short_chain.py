"""A chain without its repetitions: of every run of alike units a few are kept, which stand for all of it."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby

from torch import Tensor, nn

from methods.chain import Chain


def shorten(chain: Chain, most: int, details: Sequence[Hashable] = ()) -> tuple[Chain, list[int]]:
    """A chain that keeps `most` units of every longer run of alike ones: its first, some that follow, and its last.

    The kept units are those of the chain itself, not copies.

    Args:
        chain: the chain.
        most: units kept of a run, at least 3: the second has alike neighbours and stands for all inner ones.
        details: more in which every unit must be alike; empty: nothing more.

    Returns:
        The short chain, and for every unit of the chain the index of the one that stands for it there.
    """
    marks = list(zip(mark_units(chain), details or [None] * len(chain.units), strict=True))
    kept: list[int] = []
    like: list[int] = []
    for _, run in groupby(range(len(marks)), key=marks.__getitem__):
        units = list(run)
        chosen = units if len(units) <= most else [*units[: most - 1], units[-1]]
        start = len(kept)
        kept += chosen
        inner = range(len(chosen) - 1) if len(units) <= most else [0] + [1] * (len(units) - 2)
        inner = [start + place for place in inner]
        like += [*inner, start + len(chosen) - 1]
    short = Chain(
        name=chain.name,
        dataset=chain.dataset,
        image_size=chain.image_shape[1:],
        units=[chain.units[unit] for unit in kept],
        unit_names=[chain.unit_names[unit] for unit in kept],
        unit_shapes=[chain.unit_shapes[unit] for unit in kept],
        head=chain.head,
        loss=chain.loss,
        extra_losses={
            place: chain.extra_losses[str(unit)] for place, unit in enumerate(kept) if str(unit) in chain.extra_losses
        },
    )
    return short, like


def mark_units(chain: Chain) -> list[Hashable]:
    """For every unit a value that is equal for units that are alike and take alike inputs."""
    inputs = [chain.image_shape, *chain.unit_shapes[:-1]]
    return [
        describe_unit(unit, inputs[i], chain.unit_shapes[i], extra=str(i) in chain.extra_losses)
        for i, unit in enumerate(chain.units)
    ]


def describe_unit(unit: nn.Module, *details: Hashable, extra: bool) -> Hashable:
    """What a unit does to memory, as a value: equal for units that are alike."""
    layers = tuple(
        (
            name,
            type(layer),
            _settings(layer),
            _sizes(layer.named_parameters(recurse=False)),
            _sizes(layer.named_buffers(recurse=False)),
        )
        for name, layer in unit.named_modules()
    )
    return (layers, details, extra)


def _settings(layer: nn.Module) -> Hashable:
    """Plain values that a layer was made with."""
    plain = (bool, int, float, str, tuple, type(None))
    return tuple(sorted((name, repr(value)) for name, value in vars(layer).items() if isinstance(value, plain)))


def _sizes(tensors: Iterable[tuple[str, Tensor]]) -> Hashable:
    return tuple((name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors)
