"""Good splits of methods without a cost profile: heuristics and their neighbours, each simulated.

What is proven is said of each. Where a method is known that never holds more with the same split, its lower bound is
one here too, and splits are first simulated in the order of its peaks: once those left are no better there than the
best is here, that is proven. Else the lower bound is what every split holds all through the step (backbone, its
optimizer state, the batch), or unknown where modules are trained in rounds or the backbone is deepened, because no step
holds all of that. Segments that are to be placed are equal in every module, of a few numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.balanced import Balanced, no_room, peak_of, simulate_split
from bench.balancer import TRIED, Balancer
from bench.cost_profile import bounding_method
from bench.segments import with_segments
from bench.simulator.model import Model, read_model
from bench.splits import find_split
from bench.workloads.networks import get_network, network_for
from methods.registry import read_spec
from partition import Split
from partition.runs import BALANCED
from partition.solve import Solution
from results.record import Case

MOST = 24
"""Splits that are simulated."""
SEGMENTS = (1, 2, 3, 4, 6, 8)
"""Equal segments of a module that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What is known before anything is simulated."""

    bound: int | None
    """No split has a lower peak."""
    splits: tuple[Split, ...]
    candidates: Iterable[Solution] = ()
    """All splits with peaks that theirs are not below, in the order of these."""


def search_by_simulation(case: Case, model: Model | None = None, most: int = MOST) -> Balanced:
    """A good split of a case into its number of modules.

    Raises:
        SplitError: there is no split into so many modules.
    """
    model = model or read_model()
    if read_spec(case.method).parts.segments == BALANCED:
        few = max(2, most // len(SEGMENTS))
        return min((search_by_simulation(each, model, few) for each in _with_equal_segments(case)), key=peak_of)
    start = _start(case, model)
    known: dict[Split, Balanced] = {}

    def try_split(split: Split) -> None:
        if split not in known and len(known) < most:
            known[split] = simulate_split(replace(case, split_policy=str(split)), model, start.bound)

    for candidate in start.candidates:
        best = min(known.values(), key=peak_of, default=None)
        if best is not None and candidate.predicted_peak_bytes >= best.peak_bytes:
            return replace(best, proof=best.proof or "enumeration")
        if len(known) == TRIED:
            break
        try_split(candidate.split)
    for split in start.splits:
        try_split(split)
    _walk(known, try_split)
    return min(known.values(), key=peak_of)


def search_counts(case: Case, model: Model | None = None, most: int = 6) -> Iterator[Balanced]:
    """Good splits into 1, 2, 3, 4, 6, 8, 12, .. modules and into as many as there are units, ascending."""
    model, unit_count = model or read_model(), len(get_network(case.network).unit_names)
    doubled = {base << power for base in (1, 3) for power in range(unit_count.bit_length())} | {2, unit_count}
    for count in sorted(count for count in doubled if count <= unit_count):
        yield search_by_simulation(replace(case, module_count=count, split_policy="equal"), model, most)


def search_within(
    case: Case, budget_bytes: int, model: Model | None = None, *, least_overhead: bool = False
) -> Balanced:
    """The first of `search_counts` that fits, or of all that fit the one that adds least FLOPs.

    Raises:
        BudgetError: none does.
    """
    tried: list[Balanced] = []
    for found in search_counts(case, model):
        if found.peak_bytes <= budget_bytes and not least_overhead:
            return found
        tried.append(found)
    fitting = [found for found in tried if found.peak_bytes <= budget_bytes]
    if fitting:
        return min(fitting, key=lambda found: found.readings.theoretical_overhead or 0)
    best = min(tried, key=peak_of)
    what = f"no split of {case.network} under {case.method} that was simulated"
    raise no_room(what, budget_bytes, best.peak_bytes, best.split.module_count, "module")


def place_segments_by_simulation(case: Case, model: Model) -> Case:
    """A case whose split is named with the equal segments of least simulated peak."""
    tried = (simulate_split(each, model, None) for each in _with_equal_segments(case))
    return min(tried, key=peak_of).case


def _with_equal_segments(case: Case) -> Iterator[Case]:
    """The case with numbers of segments that some module of it can have."""
    network = network_for(read_spec(case.method).parts, case.network, case.module_count, case.height_and_width)
    longest = len(network.unit_names) - case.module_count + 1
    counts = (count for count in SEGMENTS if count <= max(1, longest))
    return (replace(case, method=with_segments(case.method, str(count))) for count in counts)


def _start(case: Case, model: Model) -> _Start:
    parts, count = read_spec(case.method).parts, case.module_count
    network = network_for(parts, case.network, count, case.height_and_width)
    equal = find_split("equal", network, count)
    if parts.deeper:
        return _Start(bound=None, splits=(equal,))
    bounding = bounding_method(case.method)
    stand_in = Balancer(replace(case, method=bounding or "dgl"), model)
    best = stand_in.least_peak(count)
    splits = (best.split, *stand_in.heuristics(count).values())
    if bounding:
        return _Start(bound=best.lower_bound_bytes, splits=splits, candidates=stand_in.candidates(count))
    return _Start(bound=None if parts.sequential else stand_in.profile(count).base_bytes, splits=splits)


def _walk(known: dict[Split, Balanced], try_split: Callable[[Split], None]) -> None:
    """Try the neighbours of the best split known, as long as that makes splits known."""
    before = 0
    while len(known) > before:
        before = len(known)
        for split in neighbours(min(known.values(), key=peak_of).split):
            try_split(split)


def neighbours(split: Split) -> list[Split]:
    """Splits with one boundary one unit away."""
    near = []
    for left, right in pairwise(range(split.module_count)):
        for move in (-1, 1):
            sizes = list(split.sizes)
            sizes[left] += move
            sizes[right] -= move
            if min(sizes) > 0:
                near.append(Split(tuple(sizes)))
    return near
