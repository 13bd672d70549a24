"""Measurements side by side, like only with like.

One comparison is one network, dataset, image size and set of options, such as precision and optimizer; its simulated
rows share one batch size, device and version, and so do its measured rows. Whatever differs in any of these makes
another comparison.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reports import published
from reports.row import Row, Workload, join_case
from results.record import Measurement

DATASETS = tuple(published.DATASETS)
NETWORKS = tuple(published.NETWORKS)
METHODS = (*published.WHOLE, *published.EQUAL)
SPLIT_POLICIES = ("equal", "merge_stem", "released", "balanced")

_Key = TypeVar("_Key", bound=Hashable)


class ReportError(ValueError):
    """A run that does not hold what a report shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Under which conditions readings were made; readings of two settings are never mixed."""

    batch_size: int
    data: str
    device: str
    device_name: str
    torch_version: str
    simulator: tuple[str, int] | None
    """Versions of peakbench and of its simulator; None for measured rows, which do not depend on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The cases of one workload under one setting of each kind."""

    workload: Workload
    simulated_setting: Setting | None
    """None where nothing was simulated."""
    measured_setting: Setting | None
    """None where nothing was measured."""
    simulated: tuple[Measurement, ...]
    measured: tuple[Measurement, ...]
    rows: tuple[Row, ...]
    """E2E first, then the methods the papers compare, in their order, then others by name; each by K."""

    @property
    def e2e(self) -> Row | None:
        """The row all ratios are taken to."""
        return next((row for row in self.rows if row.method == "e2e"), None)


def compare(measurements: Sequence[Measurement]) -> list[Comparison]:
    """Join the simulated and the measured row of every case, and put published figures beside them.

    A setting is joined with those of the same batch size of the other kind, or else with those of its largest: memory
    is usually simulated at the papers' batch where a CPU measures time at a smaller one.

    Args:
        measurements: rows of one or several runs, without two of the same identity; those of steps are joined.

    Returns:
        Comparisons by dataset, network, settings. The order of the rows of a run has no say: it is that in which
        cases happened to finish.

    Raises:
        ReportError: there are no measurements.
    """
    measurements = [row for row in measurements if row.measure == "step"]
    if not measurements:
        raise ReportError("nothing to report: the run holds no measurements")
    comparisons = []
    for workload, rows in _group(measurements, workload_of).items():
        simulated = _group([row for row in rows if row.provenance == "simulated"], _setting_of)
        measured = _group([row for row in rows if row.provenance == "measured"], _setting_of)
        for left, right in _pair(list(simulated), list(measured)):
            rows_of = (simulated[left] if left else [], measured[right] if right else [])
            comparisons.append(
                Comparison(
                    workload=workload,
                    simulated_setting=left,
                    measured_setting=right,
                    simulated=tuple(rows_of[0]),
                    measured=tuple(rows_of[1]),
                    rows=_join(workload, *rows_of),
                )
            )
    return sorted(comparisons, key=_rank_comparison)


def _rank_comparison(comparison: Comparison) -> tuple[object, ...]:
    workload = comparison.workload
    settings = (comparison.simulated_setting, comparison.measured_setting)
    return (
        *_rank(workload.dataset, DATASETS),
        *_rank(workload.network, NETWORKS),
        (*workload.height_and_width, workload.precision, not workload.tf32, workload.memory_format),
        (workload.cudnn_benchmark, workload.optimizer, workload.allocator, workload.compile),
        tuple((setting.batch_size, str(setting)) if setting else (0, "") for setting in settings),
    )


def _rank_case(case: tuple[str, int, str]) -> tuple[object, ...]:
    method, module_count, split_policy = case
    return (_rank_method(method), module_count, *_rank(split_policy, SPLIT_POLICIES))


def _rank_method(method: str) -> tuple[float, str]:
    """Known methods in their order; others, such as `checkpoint[segments=2]`, behind those of the same parts."""
    if method in METHODS:
        return (METHODS.index(method), method)
    for part_count in (None, 1):
        names = _part_names(method)[:part_count]
        kin = [place for place, known in enumerate(METHODS) if _part_names(known) == names]
        if kin:
            return (kin[-1] + 0.5, method)
    return (len(METHODS), method)


def _part_names(method: str) -> list[str]:
    """Names of the parts of a method spec, without their options."""
    return [part.partition("[")[0] for part in method.split("+")]


def _rank(name: str, known: Sequence[str]) -> tuple[int, str]:
    """Known names in their order, before all others by the alphabet."""
    return (known.index(name) if name in known else len(known), name)


def workload_of(row: Measurement) -> Workload:
    """What the row's method is compared with others on."""
    case = row.case
    return Workload(
        network=case.network,
        dataset=case.dataset,
        image_size=case.image_size,
        image_width=case.image_width,
        precision=case.precision,
        tf32=case.tf32,
        memory_format=case.memory_format,
        cudnn_benchmark=case.cudnn_benchmark,
        optimizer=case.optimizer,
        allocator=case.allocator,
        compile=case.compile,
    )


def _setting_of(row: Measurement) -> Setting:
    environment = row.environment
    versions = (environment.peakbench_version, environment.simulator_version)
    return Setting(
        batch_size=row.case.batch_size,
        data=row.case.data,
        device=row.device,
        device_name=environment.device_name,
        torch_version=environment.torch_version,
        simulator=versions if row.provenance == "simulated" else None,
    )


def _case_of(row: Measurement) -> tuple[str, int, str]:
    """What tells cases apart within one comparison."""
    return (row.case.method, row.case.module_count, row.case.split_policy)


def _group(rows: Iterable[Measurement], key: Callable[[Measurement], _Key]) -> dict[_Key, list[Measurement]]:
    groups: dict[_Key, list[Measurement]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _pair(simulated: Sequence[Setting], measured: Sequence[Setting]) -> list[tuple[Setting | None, Setting | None]]:
    pairs: list[tuple[Setting | None, Setting | None]] = []
    for setting in simulated:
        pairs += [(setting, partner) for partner in _partners(setting, measured) or (None,)]
    for setting in measured:
        pairs += [(partner, setting) for partner in _partners(setting, simulated) or (None,)]
    return list(dict.fromkeys(pairs))


def _partners(setting: Setting, others: Sequence[Setting]) -> list[Setting]:
    largest = max((other.batch_size for other in others), default=None)
    equal = [other for other in others if other.batch_size == setting.batch_size]
    return equal or [other for other in others if other.batch_size == largest]


def _join(workload: Workload, simulated: Sequence[Measurement], measured: Sequence[Measurement]) -> tuple[Row, ...]:
    left = {_case_of(row): row for row in simulated}
    right = {_case_of(row): row for row in measured}
    cases = sorted({*left, *right}, key=_rank_case)
    left_e2e = next((row for row in simulated if row.case.method == "e2e"), None)
    right_e2e = next((row for row in measured if row.case.method == "e2e"), None)
    return tuple(join_case(workload, left.get(case), right.get(case), left_e2e, right_e2e) for case in cases)
