"""Named splits: the rules of `--split` by name, and the boundaries of released code that follow none. Imports no torch.

`equal` is the papers' rule. `merge_stem` is the same with the stem counted into the first block, as in MLAAN's code.
`released` is what the authors' code really cuts, where it was released. `balanced` is the split of least peak memory.
"""

from bench.workloads.networks import Network
from methods.registry import read_spec
from partition import Split, SplitError, equal_split, parse_split
from partition.runs import BALANCED
from results.record import Case

POLICIES = ("equal", "merge_stem", "released")
"""`balanced` is the policy that no rule gives: `bench.balance` finds the boundaries where the case is built."""

_MLAAN_32 = [
    *(f"{stage}.{block}" for stage in (1, 2) for block in (1, 2, 4, 5, 7, 9, 11, 13, 14, 16, 17)),
    *(f"3.{block}" for block in (1, 3, 4, 6, 7, 9, 11, 13, 15)),
]
_EVERY_BLOCK = (("resnet32", 15), ("resnet110", 54), ("resnet34", 16), ("resnet101", 33), ("resnet152", 50))
RELEASED: dict[tuple[str, int], str] = {
    # InfoPro and ContSup: the equal rule, but for the first three.
    ("resnet110", 2): "2.8",
    ("resnet110", 3): "1.17,2.17",
    ("resnet32", 3): "1.4,2.4",
    **{("resnet32", module_count): "equal" for module_count in (2, 4, 8, 16)},
    **{("resnet110", module_count): "equal" for module_count in (4, 8, 16)},
    # MLAAN: every block a module of its own (printed as one module more), and a list of its own for 32.
    ("resnet110", 32): ",".join(_MLAAN_32),
    **dict.fromkeys(_EVERY_BLOCK, "merge_stem"),
    # DGL: the first half has one unit more.
    ("resnet152", 2): "26,25",
}
"""(network, K) -> sizes, last units or the policy they follow."""


def is_placed(case: Case) -> bool:
    """Whether boundaries and checkpointed segments of a case are known, or are still to be found for it."""
    return case.split_policy != BALANCED and read_spec(case.method).parts.segments != BALANCED


def find_split(text: str, network: Network, module_count: int) -> Split:
    """The split that a policy, sizes or last units mean.

    Args:
        text: a name of `POLICIES`, sizes, or last units.
        network: the backbone.
        module_count: K.

    Raises:
        SplitError: a split that does not fit the network or K, or that nobody released; says what there is.
    """
    text = text.strip()
    if text == "released":
        return find_split(_released(network, module_count), network, module_count)
    if text == "merge_stem":
        return _merge_stem(network, module_count)
    return parse_split(text, network.unit_names, module_count)


def name_split(text: str, network: Network, module_count: int) -> str:
    """How a record writes a split: the name of a policy, else sizes. Raises as `find_split`."""
    if text.strip() == BALANCED:
        equal_split(len(network.unit_names), module_count)  # checks K
        return BALANCED
    split = find_split(text, network, module_count)
    return text.strip() if text.strip() in POLICIES else str(split)


def _merge_stem(network: Network, module_count: int) -> Split:
    if network.unit_names[0] != "stem":
        raise SplitError(f"{network.name} has no stem to merge, its first unit is {network.unit_names[0]}: use equal")
    first, *others = equal_split(len(network.unit_names) - 1, module_count).sizes
    return Split((first + 1, *others))


def _released(network: Network, module_count: int) -> str:
    known = [count for name, count in RELEASED if name == network.name]
    if module_count in known:
        return RELEASED[network.name, module_count]
    there_is = f"there are K = {', '.join(map(str, sorted(known)))}" if known else "use equal"
    raise SplitError(f"no code was released that cuts {network.name} into {module_count} modules: {there_is}")
