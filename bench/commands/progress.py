"""What `peakbench run` shows while it runs, and what it says at the end.

Drawn when something happens and never in between: a process that draws disturbs those that measure.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.units import format_mib
from results.flags import FLAGS
from results.record import Measurement

if TYPE_CHECKING:
    from bench.run import Observe, Progress

_STYLES = {"out_of_memory": "yellow", "timeout": "red", "failed": "red"}
_FRAME_LINES = 7
"""Of a screen: head of the table, bar, and a line to type on."""

_FEW = 3
"""Rows that are listed by name even where they are all."""


@contextmanager
def show_progress(console: Console) -> "Iterator[Observe]":
    """A table of the rows that grows on a terminal, a line per row elsewhere."""
    if not console.is_terminal:
        yield lambda now: _print_line(console, now)
        return
    rows: list[Measurement] = []
    # Nothing is drawn between two events.
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def observe(now: "Progress") -> None:
            if now.words:
                console.print(now.words, markup=False, highlight=False)
            if now.row:
                rows.append(now.row)
                if now.row.status != "ok":
                    console.print(describe_row(now.row), markup=False, highlight=False)
            if now.total:
                live.update(_draw(rows, now, console), refresh=True)

        yield observe


def _print_line(console: Console, now: "Progress") -> None:
    if now.words:
        console.print(now.words, markup=False, highlight=False, soft_wrap=True)
    if now.row:
        left = f", {in_words(now.seconds_left)} left" if now.done < now.total else ""
        line = f"[{now.done}/{now.total}] {describe_row(now.row)}{left}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    elif not now.words and now.done and not now.running:
        console.print(f"{now.done} of {now.total} cases have a row already", highlight=False)


def _draw(rows: Sequence[Measurement], now: "Progress", console: Console) -> Group:
    """Table of the last rows that fit, what is under way, and how far the run is."""
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("case", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("", no_wrap=True)
    for title in ("peak MiB", "step/e2e", "took"):
        table.add_column(title, justify="right", no_wrap=True)
    space = max(1, console.height - _FRAME_LINES - len(now.running))
    for row in rows[-space:]:
        table.add_row(Text(row.case.label), _mark(row), *_read_off(row), f"{row.wall_seconds:.1f} s")
    running = [
        Text(f"{place.name}: {job.case.label}", "dim", no_wrap=True, overflow="ellipsis")
        for place, job in now.running.items()
    ]
    return Group(table, *running, _draw_bar(now))


def _mark(row: Measurement) -> Text:
    """How a row came about, or what is not well with it."""
    if row.status != "ok":
        return Text(row.status.replace("_", " "), _STYLES[row.status])
    return Text("flagged", "yellow") if row.readings.flags else Text(row.provenance, "green")


def _read_off(row: Measurement) -> tuple[str, str]:
    readings = row.readings
    peak = readings.peak_allocated_bytes if readings.least_memory_probes is None else readings.least_memory_bytes
    if not readings.step_seconds or not readings.reference_step_seconds:
        return format_mib(peak), ""
    pairs = zip(readings.step_seconds, readings.reference_step_seconds, strict=True)
    return format_mib(peak), f"{median(step / reference for step, reference in pairs):.3f}"


def _draw_bar(now: "Progress") -> Table:
    end = datetime.now().astimezone() + timedelta(seconds=now.seconds_left)
    words = f"{now.done}/{now.total}"
    if now.done < now.total:
        words += f", {in_words(now.seconds_left)} left: until about {end:%H:%M}"
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(ProgressBar(total=now.total, completed=now.done), words)
    return bar


def in_words(seconds: float) -> str:
    """A duration to plan with: `40 s`, `5 min`, `2 h 10 min`."""
    if seconds < 99.5:  # noqa: PLR2004 - from there on minutes say enough
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - as above


def describe_row(row: Measurement) -> str:
    """A row in a line."""
    words = f"{row.case.label} {row.provenance}: {row.status.replace('_', ' ')}"
    if row.status == "ok":
        return f"{words} ({row.wall_seconds:.1f} s)"
    return f"{words} in phase '{row.phase}': {_first_line(row)}"


def summarise(rows: Sequence[Measurement], folder: Path, console: Console) -> int:
    """Say how many rows there are, what was flagged and what did not end well; return the exit code."""
    bad = [row for row in rows if row.status != "ok"]
    lines = [f"{len(rows) - len(bad)} of {len(rows)} cases ok; records in {folder}"]
    flagged = Counter(flag for row in rows for flag in row.readings.flags or ())
    measured = [row for row in rows if row.provenance == "measured" and row.status == "ok"]
    for flag, count in flagged.most_common():
        with_flag = [row for row in rows if flag in (row.readings.flags or ())]
        every = with_flag == measured and count > _FEW
        which = f"all {count} measured" if every else f"{count}"
        lines.append(f"flagged '{flag}' ({which}): {FLAGS.get(flag, 'see docs/measuring.md')}")
        lines += [] if every else [f"  {row.case.label} {row.provenance}" for row in with_flag]
    for status in ("failed", "timeout", "out_of_memory"):
        for phase in dict.fromkeys(row.phase for row in bad if row.status == status):
            alike = [row for row in bad if (row.status, row.phase) == (status, phase)]
            lines.append(f"{status.replace('_', ' ')} in phase '{phase}' ({len(alike)}):")
            lines += [f"  {row.case.label} {row.provenance}: {_first_line(row)}" for row in alike]
    again = [status for status in ("failed", "timeout") if any(row.status == status for row in bad)]
    if again:
        lines.append(f"the same command with {' '.join(f'--retry {each}' for each in again)} tries these again")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 1 if again else 0


def _first_line(row: Measurement) -> str:
    return (row.message or "").partition("\n")[0]
