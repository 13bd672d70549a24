"""Baselines: what the memory of a suite was, as JSON that a repository can track, and what has changed since.

With the same torch and simulator a peak is the same to the byte, so bytes are compared. Another torch may allocate
differently everywhere; then each case's ratio to end-to-end backprop of the same workload is compared.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from results.record import Case, Status

KIND = "peakbench baseline"
VERSION = 1

Holder = tuple[str, int | None]
"""Category, such as `activations`, and local module from 0; None outside of modules."""
Held = tuple[str, int | None, int]
"""The same with its bytes."""
Basis = Literal["bytes", "ratio"]
Verdict = Literal["same", "grew", "shrank", "new", "gone", "broken", "unknown"]
"""`unknown`: in both, but there is nothing to take a ratio to."""


class BaselineError(ValueError):
    """A baseline that cannot be read, written or compared; says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Simulated memory of one case."""

    case: Case
    status: Status
    message: str | None = None
    requested_bytes: int | None = None
    """Peak of a steady step, as are the next two."""
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    training_flops: int | None = None
    peak_phase: str | None = None
    """Where the peak lies, in words."""
    holders: tuple[Held, ...] = ()
    """What holds the peak: category, local module, bytes; they sum to the allocated peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Memory of all cases of a suite, and what it was simulated with."""

    suite: str
    torch_version: str
    simulator_version: int
    device_name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One case, before and now."""

    case: Case
    verdict: Verdict
    before: Entry | None
    after: Entry | None
    growth: float | None
    """Relative growth of the allocated peak, or of its ratio to end-to-end backprop; None where there is nothing to
    compare."""
    holders: tuple[Held, ...]
    """Difference in bytes by category and module, what grew most first, or where the peak shrank what shrank most; none
    where another torch is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Growth that is let pass."""

    fraction: float = 0.0
    bytes: int = 0


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        BaselineError: missing, not JSON, not a baseline, or of a newer version.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise BaselineError(
            f"there is no baseline {path}: make it with `peakbench baseline update SUITE --baseline {path}`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BaselineError(f"cannot read baseline {path}: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise BaselineError(f"{path} is not a baseline of peakbench")
    if content.get("version") != VERSION:
        raise BaselineError(f"{path} has version {content.get('version')}, this peakbench reads {VERSION}")
    if content.get("entries") == []:
        raise BaselineError(f"{path} has no case, so that a check would look at nothing: update it")
    try:
        entries = tuple(_read_entry(entry) for entry in content["entries"])
        return Baseline(entries=entries, **{name: content[name] for name in _HEADER})
    except (KeyError, TypeError, ValueError) as error:
        raise BaselineError(f"{path} is damaged: {error!r}") from error


_HEADER = tuple(field.name for field in fields(Baseline) if field.name != "entries")


def _read_entry(content: dict[str, Any]) -> Entry:
    case = Case(**content["case"])
    holders = tuple((category, module, size) for category, module, size in content["holders"])
    return Entry(**{**content, "case": case, "holders": holders})


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Replace a baseline file, atomically; one line per case, so that a change shows as the lines it changes.

    Raises:
        BaselineError: it cannot be written.
    """
    head = {"kind": KIND, "version": VERSION} | {name: getattr(baseline, name) for name in _HEADER}
    lines = [json.dumps(asdict(entry)) for entry in baseline.entries]
    start = json.dumps(head, indent=1)[:-2]
    text = start + ',\n "entries": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BaselineError(f"cannot write baseline {path}: {error.strerror}") from error


def basis_of(before: Baseline, after: Baseline) -> Basis:
    """What two baselines can be compared by.

    Raises:
        BaselineError: they model different devices, so nothing can.
    """
    if before.device_name != after.device_name:
        raise BaselineError(
            f"the baseline was simulated for {before.device_name}, this run for {after.device_name}: "
            "update the baseline or choose its device"
        )
    # Builds of one torch for other CUDA versions, `2.15.0+cu132`, allocate the same.
    versions = [(one.torch_version.partition("+")[0], one.simulator_version) for one in (before, after)]
    return "bytes" if versions[0] == versions[1] else "ratio"


def compare(before: Baseline, after: Baseline, tolerance: Tolerance) -> list[Change]:
    """What changed from one baseline to another, in the order of the suite; cases that are gone at the end.

    Args:
        before: the one that is kept.
        after: the one of now.
        tolerance: growth that counts as the same; bytes are not used where ratios are compared.
    """
    basis = basis_of(before, after)
    known = {entry.case: entry for entry in before.entries}
    now = {entry.case: entry for entry in after.entries}
    scale = {"before": _references(before), "after": _references(after)} if basis == "ratio" else None
    changes = [_compare_case(known.get(entry.case), entry, tolerance, scale) for entry in after.entries]
    gone = [entry for entry in before.entries if entry.case not in now]
    return changes + [
        Change(case=entry.case, verdict="gone", before=entry, after=None, growth=None, holders=()) for entry in gone
    ]


def _workload(case: Case) -> Case:
    return replace(case, method="e2e", module_count=1, split_policy="equal")


def _references(baseline: Baseline) -> dict[Case, int]:
    """Allocated peak of end-to-end backprop by workload."""
    return {
        entry.case: entry.allocated_bytes
        for entry in baseline.entries
        if entry.case == _workload(entry.case) and entry.allocated_bytes
    }


def _compare_case(
    before: Entry | None, after: Entry, tolerance: Tolerance, scale: dict[str, dict[Case, int]] | None
) -> Change:
    if before is None:
        return Change(case=after.case, verdict="new", before=None, after=after, growth=None, holders=())
    old, new = before.allocated_bytes, after.allocated_bytes
    if old is None or new is None:
        verdict: Verdict = "same" if before.status == after.status else "broken" if new is None else "shrank"
        return Change(case=after.case, verdict=verdict, before=before, after=after, growth=None, holders=())
    if scale is None:
        growth = new / old - 1
        limit = old * (1 + tolerance.fraction) + tolerance.bytes
        verdict = "grew" if new > limit else "shrank" if new < old else "same"
        return Change(
            case=after.case,
            verdict=verdict,
            before=before,
            after=after,
            growth=growth,
            holders=find_differences(before.holders, after.holders),
        )
    references = [scale[time].get(_workload(after.case)) for time in ("before", "after")]
    if None in references:
        return Change(case=after.case, verdict="unknown", before=before, after=after, growth=None, holders=())
    growth = (new / (references[1] or 1)) / (old / (references[0] or 1)) - 1
    verdict = "grew" if growth > tolerance.fraction else "shrank" if growth < -tolerance.fraction else "same"
    return Change(case=after.case, verdict=verdict, before=before, after=after, growth=growth, holders=())


def find_differences(before: Iterable[Held], after: Iterable[Held]) -> tuple[Held, ...]:
    """What two peaks hold more or less of.

    Returns:
        Category, module and difference in bytes; what drives the change first: what grew most where the peak grew, what
        shrank most where it shrank.
    """
    change: Counter[Holder] = Counter()
    for sign, held in ((-1, before), (1, after)):
        for category, module, size in held:
            change[category, module] += sign * size
    found = [(category, module, size) for (category, module), size in change.items() if size]
    direction = 1 if change.total() < 0 else -1
    return tuple(sorted(found, key=lambda item: (direction * item[2], item[0], -1 if item[1] is None else item[1])))


def is_failure(changes: Iterable[Change]) -> bool:
    """Whether a check fails: something grew, broke or is no longer looked at, or nothing was compared at all."""
    verdicts = {change.verdict for change in changes}
    return bool(verdicts & {"grew", "broken", "gone"}) or not verdicts & {"same", "shrank"}
