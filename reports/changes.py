"""What changed between two baselines, as lines for a terminal and as markdown."""

from collections.abc import Sequence

from reports.units import NOTHING, format_change, format_gib
from results.baseline import Baseline, Basis, Change, Held

SHOWN_HOLDERS = 3
REASONS = {
    "gone": "no longer in the suite",
    "unknown": "no end-to-end backprop of the same workload to take a ratio to: add e2e to the suite",
}
WORDS = {
    "auxiliary": "of the auxiliary network",
    "context": "of the context network",
    "temporary": "temporary tensors",
    "workspace": "workspaces",
}
"""Categories that need more than their name in a sentence."""
_ORDER = ("grew", "broken", "gone", "unknown", "shrank", "new", "same")
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def summarise(changes: Sequence[Change]) -> str:
    """How many cases of each verdict: `1 grew, 15 same`."""
    counts = [(verdict, sum(change.verdict == verdict for change in changes)) for verdict in _ORDER]
    return ", ".join(f"{count} {verdict}" for verdict, count in counts if count)


def explain_basis(basis: Basis, before: Baseline, after: Baseline) -> str:
    """What was compared, in a sentence."""
    if basis == "bytes":
        return f"allocated peaks in bytes, simulated for {after.device_name} with torch {after.torch_version}"
    return (
        "ratios of allocated peaks to end-to-end backprop of the same workload, because the baseline is of torch "
        f"{before.torch_version}, simulator {before.simulator_version}, and this is torch {after.torch_version}, "
        f"simulator {after.simulator_version}; simulated for {after.device_name}"
    )


def explain(change: Change) -> str:
    """Why a peak is another, by category and module: `+64.0 MiB activations in module 2`."""
    if change.verdict == "broken" and change.after is not None:
        return f"{change.after.status.replace('_', ' ')}: {change.after.message}"
    if change.verdict in REASONS:
        return REASONS[change.verdict]
    return name_differences(change.holders)


def name_differences(holders: Sequence[Held]) -> str:
    """The first few of what peaks hold more or less of: `+64.0 MiB activations in module 2; 3 more`."""
    shown = [
        f"{format_bytes(size)} {WORDS.get(category, category)} "
        + ("outside of modules" if module is None else f"in module {module + 1}")
        for category, module, size in holders[:SHOWN_HOLDERS]
    ]
    rest = holders[SHOWN_HOLDERS:]
    total = format_bytes(sum(size for _, _, size in rest))
    return "; ".join([*shown, *([f"{total} in {len(rest)} more"] if rest else [])])


def format_bytes(size: int) -> str:
    """A difference with its sign: `+64.0 MiB`, `-512 B`."""
    for unit, name in _UNITS:
        if abs(size) >= unit:
            return f"{size / unit:+.1f} {name}"
    return f"{size:+d} B"


def changed_first(changes: Sequence[Change]) -> list[Change]:
    """Those that are not the same, failures first."""
    return sorted((c for c in changes if c.verdict != "same"), key=lambda change: _ORDER.index(change.verdict))


def to_lines(changes: Sequence[Change]) -> list[str]:
    """Two lines per change: the peak before and now, and why."""
    compared = any(change.verdict not in ("new", "gone", "unknown") for change in changes)
    lines = [] if compared else ["nothing was compared, which is a failure, not a pass"]
    for change in changed_first(changes):
        before, after = (None if entry is None else entry.allocated_bytes for entry in (change.before, change.after))
        lines.append(
            f"{change.verdict:7}{change.case.label}: {format_gib(before)} -> {format_gib(after)} GiB "
            f"({_size_of(change)})"
        )
        reason = explain(change)
        if reason:
            lines.append(f"       {reason}")
        if change.after is not None and change.after.peak_phase and change.verdict in ("grew", "shrank"):
            lines.append(f"       peak now at {change.after.peak_phase}")
    return lines


def _size_of(change: Change) -> str:
    """A change in bytes and per cent: `+64.0 MiB, +5.2%`; what is compared across versions has no bytes."""
    before, after = (None if entry is None else entry.allocated_bytes for entry in (change.before, change.after))
    if change.growth is None or before is None or after is None:
        return NOTHING
    return ", ".join([*([format_bytes(after - before)] if change.holders else []), format_change(change.growth)])


def to_markdown(title: str, changes: Sequence[Change], basis: str) -> str:
    """A section with a table of what is not the same."""
    lines = [f"### {title}: {summarise(changes)}", ""]
    listed = changed_first(changes)
    if listed:
        lines += ["| | case | before, GiB | now, GiB | change | why |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for change in listed:
        before, after = (None if entry is None else entry.allocated_bytes for entry in (change.before, change.after))
        cells = [
            change.verdict,
            f"`{change.case.label}`",
            format_gib(before),
            format_gib(after),
            _size_of(change),
            explain(change).replace("|", r"\|"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Compared: {basis}.", ""])
