"""Which later units MLAAN's released networks copy into their auxiliary networks, and the rule for every other network.

Source: released CIFAR and ImageNet code of MLAAN (arXiv 2406.16633). Imports no torch.
"""

from collections.abc import Sequence
from itertools import pairwise

# (first, last) unit of a module's end -> units copied; `2.0` is the first block of the second stage.
_RESNET32 = {
    ("1.0", "1.1"): "2.0 3.0 3.2 3.4",
    ("1.2", "1.2"): "2.0 3.0 3.3 3.4",
    ("1.3", "1.3"): "2.0 3.0 3.2 3.4",
    ("1.4", "1.4"): "2.0 3.0 3.3 3.4",
    ("2.0", "2.4"): "3.0 3.2 3.3 3.4",
    ("3.0", "3.0"): "3.1 3.2 3.4",
    ("3.1", "3.1"): "3.2 3.3 3.4",
    ("3.2", "3.2"): "3.3 3.4",
    ("3.3", "3.3"): "3.4",
}
_RESNET110 = {
    ("1.0", "1.17"): "2.0 3.0 3.2 3.17",
    ("2.0", "2.16"): "3.0 3.2 3.3 3.17",
    ("2.17", "2.17"): "3.0 3.3 3.4 3.17",
    ("3.0", "3.6"): "3.8 3.17",
    ("3.7", "3.10"): "3.14 3.17",
    ("3.11", "3.12"): "3.15 3.17",
    ("3.13", "3.15"): "3.16 3.17",
    ("3.16", "3.16"): "3.17",
}
_RESNET34 = {
    ("1.0", "1.2"): "2.0 2.1 3.0 4.0 4.2",
    ("2.0", "2.3"): "2.1 3.0 4.0 4.2",
    ("3.0", "3.5"): "3.1 4.0 4.1",
    ("4.0", "4.0"): "4.1 4.1 4.2",
    ("4.1", "4.1"): "4.1 4.2",
}
_RESNET101 = {
    ("1.0", "1.2"): "2.0 3.0 4.0 4.2",
    ("2.0", "2.3"): "3.0 4.0 4.1",
    ("3.0", "3.22"): "4.0 4.1",
    ("4.0", "4.1"): "4.1 4.2",
}
_RESNET152 = {
    ("1.0", "1.2"): "2.0 3.0 4.0 4.2",
    ("2.0", "2.7"): "3.0 4.0 4.1",
    ("3.0", "3.35"): "4.0 4.1",
    ("4.0", "4.1"): "4.1 4.2",
}
RELEASED = {
    "resnet32": _RESNET32,
    "resnet110": _RESNET110,
    "resnet34": _RESNET34,
    "resnet101": _RESNET101,
    "resnet152": _RESNET152,
}
# The coarser released splits differ in one end each: (network, modules, end) -> units copied.
_COARSE = {
    ("resnet32", 8, "3.0"): "3.2 3.3 3.4",
    ("resnet110", 32, "3.15"): "3.17",
}
LONGEST = 4
"""Units copied where nothing is released."""


def units_to_copy(
    network: str,
    module_count: int,
    unit_names: Sequence[str],
    shapes: Sequence[tuple[int, int, int]],
    end: int,
) -> tuple[int, ...]:
    """Units whose copies begin the auxiliary network of the module that ends in unit `end`.

    Args:
        network: name of the network.
        module_count: K.
        unit_names: names of its units.
        shapes: (channels, height, width) of the image and of every unit's output.
        end: index of the module's last unit, not that of the chain.

    Returns:
        Indices of units in the order they are applied; each takes the shape that the one before gives. Released lists
        where there are some for this end. Else at most four units behind `end`: those that change the shape, and for
        the rest units spread over what follows the last of these, the chain's last one at the end.
    """
    indices = {_short(name): unit for unit, name in enumerate(unit_names)}
    name = _short(unit_names[end])
    coarse = _COARSE.get((network, module_count, name))
    for (first, last), units in RELEASED.get(network, {}).items():
        if indices[first] <= end <= indices[last]:
            return tuple(indices[unit] for unit in (coarse or units).split())
    return _follow_shapes(shapes, end)


def counts_apart(network: str) -> tuple[int, ...]:
    """Numbers of modules for which other units are copied than for most."""
    return tuple(sorted({count for name, count, _ in _COARSE if name == network}))


def _short(name: str) -> str:
    return name.removeprefix("layer")


def _follow_shapes(shapes: Sequence[tuple[int, int, int]], end: int) -> tuple[int, ...]:
    taken, shape = [], shapes[end + 1]
    for unit, (before, after) in enumerate(pairwise(shapes)):
        if unit > end and before == shape and after != shape and len(taken) < LONGEST:
            taken.append(unit)
            shape = after
    start = max([end, *taken])
    alike = [unit for unit in range(start + 1, len(shapes) - 1) if shapes[unit] == shapes[unit + 1] == shape]
    count = min(LONGEST - len(taken), len(alike))
    spread = [alike[-(-len(alike) * (place + 1) // count) - 1] for place in range(count)]
    return (*taken, *spread)
