"""What is said below a table: definitions, conditions, sources, and why something is missing."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.cells import in_words
from reports.comparison import Comparison
from reports.layout import Table
from reports.offsets import fit_papers
from reports.published import SOURCES
from reports.row import Row
from results.record import Measurement

MISSING = "-: no such value. The first cell of a group says why: not run, out of memory, timeout or failed."
NOISY = 0.05
"""Half of a ratio's interval, relative, above which methods can hardly be ranked by it."""
NOISE_ADVICE = "measure again on an idle machine or for longer."
ERROR_LEGEND = "error of simulated: simulated over measured, less one, where both are of one batch size."


def condition_notes(comparison: Comparison) -> list[str]:
    """What holds for all numbers of a table that shows memory and time."""
    steps = [row.step_count for row in comparison.rows]
    conditions = [split_note(comparison.rows), memory_note(comparison), time_note(comparison, steps)]
    return [*conditions, *noise_notes(comparison.rows), *flag_notes(comparison), MISSING]


def split_note(rows: Sequence[Row]) -> str:
    """The split of all cases, where they agree."""
    policies = {row.split_policy for row in rows if row.module_count > 1}
    return f"K: local modules, {policies.pop()} split." if len(policies) == 1 else "K: local modules, split as named."


def memory_note(comparison: Comparison, batch: bool = True) -> str:
    """Definition of the simulated peak, with its device, version and, where no column has it, its batch."""
    setting = comparison.simulated_setting
    if setting is None:
        return "Memory: not simulated in this run."
    sources = sorted({row.readings.workspace for row in comparison.simulated if row.readings.workspace} - {"none"})
    workspace = f"from {', '.join(sources)}" if sources else "not counted"
    where = f"{setting.device_name}, torch {setting.torch_version}"
    at_batch = f"batch {setting.batch_size}, " if batch else ""
    return (
        f"Memory: {at_batch}simulated ({where}): peak of allocated bytes in a steady training step, in the 512-byte "
        f"blocks of torch's CUDA allocator; convolution workspace {workspace}. GiB and MiB are 2^30 and 2^20 bytes."
    )


def time_note(comparison: Comparison, counts: Iterable[int | None]) -> str:
    """Device, batch and number of samples of the timings, and what the interval is.

    Args:
        comparison: whose timings these are.
        counts: sample pairs of every row shown.
    """
    setting = comparison.measured_setting
    if setting is None:
        return "Times: not measured in this run."
    threads = sorted({row.environment.thread_count for row in comparison.measured})
    where = f"cpu, threads: {', '.join(map(str, threads))}" if setting.device == "cpu" else setting.device
    stopped = sum(row.readings.timing_stop == "time" for row in comparison.measured)
    limit = f" {stopped} of {len(comparison.measured)} timings ended at the time limit." if stopped else ""
    return (
        f"Times: batch {setting.batch_size}, {setting.data} data, measured on {setting.device_name} ({where}), torch "
        f"{setting.torch_version}; {_span(counts)} pairs of samples a case. Ratios to E2E are medians over pairs, "
        f"± half of the 95% bootstrap interval.{limit}"
    )


def noise_notes(rows: Sequence[Row]) -> list[str]:
    """A note where step times were too unsteady to rank methods by."""
    intervals = [
        (row.step_ratio, row.step_ratio_high - row.step_ratio_low)
        for row in rows
        if row.step_ratio is not None and row.step_ratio_low is not None and row.step_ratio_high is not None
    ]
    noisy = sum(width / 2 > NOISY * ratio for ratio, width in intervals)
    if not noisy:
        return []
    return [f"Noisy: {noisy} of {len(intervals)} step ratios are uncertain by over {NOISY:.0%}; {NOISE_ADVICE}"]


def flag_notes(comparison: Comparison) -> list[str]:
    """Which words of suspicion rows carry, and how many rows each."""
    rows = (*comparison.simulated, *comparison.measured)
    counts = Counter(flag for row in rows for flag in row.readings.flags or ())
    if not counts:
        return []
    words = ", ".join(f"{flag} ({count} {'row' if count == 1 else 'rows'})" for flag, count in counts.most_common())
    return [f"Flagged: {words}; docs/measuring.md says what each means."]


def measured_memory_notes(comparison: Comparison) -> list[str]:
    """Definition of the measured peak, where there is one."""
    setting = comparison.measured_setting
    if setting is None or all(row.measured_peak_allocated_bytes is None for row in comparison.rows):
        return []
    batch = f"at batch {setting.batch_size}"
    return [f"measured: peak of allocated bytes, read from torch's allocator {batch}. {ERROR_LEGEND}"]


SOURCE_FIELDS = {
    "published_memory_gb": "published_memory_source",
    "published_peak_ratio": "published_memory_source",
    "published_theoretical_overhead": "published_theoretical_source",
    "published_step_ratio": "published_step_source",
    "published_inference_ratio": "published_inference_source",
    "published_test_error": "published_test_error_source",
}
"""Field of a published figure -> field of its paper and table."""


def published_note(rows: Iterable[Row], *figures: str) -> str:
    """Where published figures come from and under which conditions they were taken.

    Args:
        rows: the rows shown.
        figures: the published fields shown of them.
    """
    return source_note(sources_of(rows, *figures))


def sources_of(rows: Iterable[Row], *figures: str) -> list[str]:
    """Paper and table of every published figure of these fields."""
    return [getattr(row, SOURCE_FIELDS[name]) for row in rows for name in figures if getattr(row, name) is not None]


def source_note(sources: Iterable[str]) -> str:
    """Papers' tables with the conditions of their figures.

    Args:
        sources: such as `InfoPro Table 3`; may repeat.
    """
    listed = "; ".join(f"{source} ({SOURCES[source]})" for source in sorted(set(sources)))
    if not listed:
        return "Paper: no published figure of these cases."
    return f"Paper: {listed}. Papers define memory and time in their own ways: compare ratios, each to its own E2E."


def offset_notes(rows: Sequence[Row]) -> list[str]:
    """What print has more than simulation, one constant per paper, and what it leaves unexplained."""
    fits = [
        f"{source} {fit.offset:.2f} GiB ({len(fit.residuals)} cells, {fit.middle:.2f} left by median, {fit.worst:.2f} "
        "at most)"
        for source, fit in fit_papers(rows).items()
    ]
    if not fits:
        return []
    return [f"Print less simulated, one constant per paper for context and workspaces: {'; '.join(fits)}."]


def problem_notes(measurements: Iterable[Measurement]) -> list[str]:
    """One note per row that did not finish: how it ended, where and why."""
    return [_problem(row) for row in measurements if row.status != "ok"]


def reference_notes(rows: Sequence[Row]) -> list[str]:
    """A note where memory was read, but not of E2E, so that there is nothing to take ratios to."""
    simulated = _lacks([row.peak_allocated_bytes for row in rows], [row.peak_ratio for row in rows])
    measured = _lacks([row.measured_peak_allocated_bytes for row in rows], [row.measured_peak_ratio for row in rows])
    if not (simulated or measured):
        return []
    return ["No memory ratios: the run has no finished e2e row under these settings; run e2e as well."]


def _lacks(values: Sequence[float | None], ratios: Sequence[float | None]) -> bool:
    return any(value is not None for value in values) and all(ratio is None for ratio in ratios)


def _problem(row: Measurement) -> str:
    phase = f" in {row.phase}" if row.phase else ""
    message = f": {row.message.strip().splitlines()[0]}" if row.message and row.message.strip() else ""
    return f"{row.case.method} K={row.case.module_count} ({row.provenance}): {in_words(row.status)}{phase}{message}"


def _span(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    if not known:
        return "no"
    return str(min(known)) if min(known) == max(known) else f"{min(known)} to {max(known)}"


def shared(tables: Sequence[Table]) -> list[str]:
    """Notes that several tables agree on: said once, at the end."""
    if len(tables) < 2:  # noqa: PLR2004 - one table keeps its notes
        return []
    return [note for note in tables[0].notes if all(note in table.notes for table in tables)]
