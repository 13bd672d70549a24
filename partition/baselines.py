"""How others place boundaries: the heuristics that exact splits are compared with.

Each takes a number per unit (parameters, FLOPs, bytes it keeps) and makes consecutive modules of about the same sum.
None looks at what a training step needs beside its activations, which is why none is optimal for it.
"""

from collections.abc import Sequence
from itertools import pairwise

from partition.split import Split, SplitError, equal_split


def least_largest(weights: Sequence[int], module_count: int) -> Split:
    """The split whose largest module sum is least, as DeepSpeed balances pipeline stages.

    Args:
        weights: a number from 0 for every unit.
        module_count: K.

    Raises:
        SplitError: K is below 1 or above the number of units.
    """
    equal_split(len(weights), module_count)  # checks K
    low, high = max(weights), sum(weights)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(weights, middle)) <= module_count:
            high = middle
        else:
            low = middle + 1
    return Split(_split_up(_fill(weights, low), module_count))


def _fill(weights: Sequence[int], most: int) -> list[int]:
    """Sizes of modules, each filled as far as its sum stays within `most`."""
    sizes, held = [0], 0
    for weight in weights:
        if held + weight > most:
            sizes.append(0)
            held = 0
        sizes[-1] += 1
        held += weight
    return sizes


def _split_up(sizes: list[int], module_count: int) -> tuple[int, ...]:
    """Non-empty modules, as many as asked for, by halving the largest."""
    sizes = [size for size in sizes if size]
    while len(sizes) < module_count:
        place = sizes.index(max(sizes))
        size = sizes[place]
        sizes[place : place + 1] = [size // 2, size - size // 2]
    return tuple(sizes)


def block_partition(weights: Sequence[int], module_count: int) -> Split:
    """A split in which no two module sums differ by more than the largest weight, as torchgpipe balances GPipe.

    Starting from modules of the same length, the smallest module nearest to a fixed largest one takes a unit from its
    neighbour on that side, until the sums are close enough.

    Source: Bárány and Grinberg, Block partitions of sequences, arXiv 1308.2452. torchgpipe subtracts the least weight
    from all before it scales them, which changes the sums of modules of unlike length; here weights stay as they are.

    Args:
        weights: a number from 0 for every unit.
        module_count: K.

    Raises:
        SplitError: K is below 1 or above the number of units.
    """
    ends = [0, *(last + 1 for last in equal_split(len(weights), module_count).last_units)]
    most = max(weights)

    def sums() -> list[int]:
        return [sum(weights[start:end]) for start, end in pairwise(ends)]

    held = sums()
    largest = held.index(max(held))
    while max(held) - min(held) > most:
        if held[largest] < max(held):
            largest = held.index(max(held))
        least = min(held)
        smallest = min((k for k, bytes_ in enumerate(held) if bytes_ == least), key=lambda k: abs(k - largest))
        if smallest < largest:
            ends[smallest + 1] += 1
        else:
            ends[smallest] -= 1
        held = sums()
    # Where a module is empty all sums are at most the largest weight, so that halving others keeps them close.
    return Split(_split_up([end - start for start, end in pairwise(ends)], module_count))


__all__ = ["SplitError", "block_partition", "least_largest"]
