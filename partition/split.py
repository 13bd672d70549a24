"""Where a chain is cut into local modules: the type, the equal rule, and the two notations users write.

A split of n units into K modules is K positive sizes that sum to n. On the command line it is written as sizes
(`13,14,14,14`) or as the last unit of every module but the final one (`1.11,2.7,3.3`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


class SplitError(ValueError):
    """A split that cannot be: sizes that do not sum, more modules than units, unknown units."""


@dataclass(frozen=True, slots=True)
class Split:
    """Sizes of the K local modules of a chain, first to last; each at least one unit."""

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise SplitError(f"every module needs at least one unit (sizes: {self})")

    @property
    def module_count(self) -> int:
        """K, the number of local modules."""
        return len(self.sizes)

    @property
    def unit_count(self) -> int:
        """Number of units of the chain."""
        return sum(self.sizes)

    @property
    def last_units(self) -> tuple[int, ...]:
        """Index of the last unit of every module, the final module included."""
        return tuple(end - 1 for end in accumulate(self.sizes))

    def modules(self) -> tuple[range, ...]:
        """Unit indices of every module, first to last."""
        return tuple(range(last + 1 - size, last + 1) for last, size in zip(self.last_units, self.sizes, strict=True))

    def __str__(self) -> str:
        return ",".join(map(str, self.sizes))


def equal_split(unit_count: int, module_count: int) -> Split:
    """Equal-layer rule of InfoPro and ContSup: with r = n mod K, the last r modules get one unit more.

    Args:
        unit_count: n, units of the chain.
        module_count: K, 1 to n.

    Raises:
        SplitError: K is below 1 or above n.
    """
    if module_count < 1:
        raise SplitError(f"a split needs at least one module (modules: {module_count})")
    if module_count > unit_count:
        raise SplitError(f"too few units for the modules (units: {unit_count}, modules: {module_count})")
    size, rest = divmod(unit_count, module_count)
    return Split((size,) * (module_count - rest) + (size + 1,) * rest)


def parse_split(text: str, unit_names: Sequence[str], module_count: int | None = None) -> Split:
    """Read a split in either notation, or the policy `equal`.

    Args:
        text: `equal`, sizes (`8,8`), or last units of all modules but the final one (`2.7,3.3`, `stem,1.4`).
        unit_names: names of the chain's units; `layer2.7` may be written `2.7`, and `stem` also `conv1`.
        module_count: K; required for `equal`, otherwise checked against the split when given.

    Raises:
        SplitError: with the values and the way out.
    """
    text = text.strip()
    if text == "equal":
        if module_count is None:
            raise SplitError("the split 'equal' needs a number of modules")
        return equal_split(len(unit_names), module_count)
    items = [item.strip() for item in text.split(",")]
    sizes = all(item.isdecimal() for item in items)
    split = _from_sizes(items, len(unit_names)) if sizes else _from_last_units(items, unit_names)
    if module_count is not None and split.module_count != module_count:
        raise SplitError(
            f"split '{text}' has {split.module_count} modules, but {module_count} were asked for; "
            f"{'sizes name every module' if sizes else 'last units name every module but the final one'}"
        )
    return split


def _from_sizes(items: list[str], unit_count: int) -> Split:
    split = Split(tuple(map(int, items)))
    if split.unit_count != unit_count:
        raise SplitError(f"sizes {split} sum to {split.unit_count}, but the chain has {unit_count} units")
    return split


def _from_last_units(items: list[str], unit_names: Sequence[str]) -> Split:
    position = {name: i for i, name in enumerate(unit_names)}
    position |= {name.removeprefix("layer"): i for name, i in position.items()}
    if "stem" in position:
        position["conv1"] = position["stem"]
    unknown = [item for item in items if item not in position]
    if unknown:
        raise SplitError(
            f"unknown unit '{unknown[0]}' in split '{','.join(items)}'; units run from {unit_names[0]} to "
            f"{unit_names[-1]}, and a split is 'equal', sizes such as 8,8 or last units such as "
            f"{unit_names[len(unit_names) // 2].removeprefix('layer')}"
        )
    ends = [position[item] + 1 for item in items]
    if ends[-1] == len(unit_names):
        raise SplitError(f"the last unit {unit_names[-1]} ends the final module by itself: leave it out")
    ends.append(len(unit_names))
    if any(later <= earlier for earlier, later in pairwise(ends)):
        raise SplitError(f"last units must follow the order of the chain (split: {','.join(items)})")
    return Split(tuple(end - start for start, end in pairwise([0, *ends])))
