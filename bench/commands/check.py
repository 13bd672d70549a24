"""`peakbench check` and `peakbench baseline update`: guard the memory of a suite in CI, without a GPU."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from bench.cases import CaseError
from bench.commands.options import PluginFiles
from bench.commands.simulate import read_bytes
from bench.suites import load_suite
from results.baseline import (
    Baseline,
    Change,
    Tolerance,
    basis_of,
    compare,
    is_failure,
    read_baseline,
    write_baseline,
)

FOLDER = Path("results") / "baselines"
RATIO_TOLERANCE = 0.01
"""Growth of a ratio that is let pass where another torch is compared: kernels and temporaries differ a little."""

BaselineFile = Annotated[Path | None, typer.Option(help="Baseline file; by default results/baselines/SUITE.json.")]
TimeLimit = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="After which a case is stopped.")]


def check(
    suite: Annotated[str | None, typer.Argument(help="Suite by name or .toml file; that of the baseline.")] = None,
    baseline: BaselineFile = None,
    anchor: Annotated[Path | None, typer.Option(help="An older baseline that is not rolled: catches drift.")] = None,
    tolerance: Annotated[
        str | None, typer.Option(help="Growth to let pass: 2%, 4MiB or bytes; by default 0, or 1% across versions.")
    ] = None,
    anchor_tolerance: Annotated[str, typer.Option(help="Growth to let pass since the anchor.")] = "5%",
    summary: Annotated[
        Path | None, typer.Option(envvar="GITHUB_STEP_SUMMARY", help="File that markdown is appended to.")
    ] = None,
    github_benchmark: Annotated[
        Path | None, typer.Option(help="Write peaks for github-action-benchmark (customSmallerIsBetter).")
    ] = None,
    bencher: Annotated[Path | None, typer.Option(help="Write peaks and FLOPs in Bencher's metric format.")] = None,
    time_limit: TimeLimit = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print every case with before and now as JSON.")] = False,
    _plugin: PluginFiles = None,
) -> None:
    """Simulate a suite again and compare with its baseline: bytes for the same torch, ratios to E2E across versions.

    Exit code 1 where a case grew, broke, or is no longer in the suite.

    Example:  peakbench check smoke

    Example:  peakbench check --baseline memory.json --tolerance 1% --anchor memory-v1.json
    """
    from reports.changes import explain_basis, summarise, to_lines, to_markdown  # noqa: PLC0415 - as in run
    from reports.exports import to_bencher, to_github_benchmark  # noqa: PLC0415

    path = _find_baseline(suite, baseline)
    kept = {"baseline": (path, read_baseline(path), tolerance)}
    if anchor is not None:
        kept["anchor"] = (anchor, read_baseline(anchor), anchor_tolerance)
    now = _simulate(suite or kept["baseline"][1].suite, time_limit)
    failed, answer, sections = False, {}, []
    for name, (file, before, allowed) in kept.items():
        basis = basis_of(before, now)
        changes = compare(before, now, _read_tolerance(allowed, exact=basis == "bytes"))
        words = explain_basis(basis, before, now)
        failed |= is_failure(changes)
        answer[name] = {"file": str(file), "basis": basis, "cases": [asdict(change) for change in changes]}
        sections.append(to_markdown(f"Memory of suite {now.suite} since {file}", changes, words))
        if not as_json:
            _print([f"{summarise(changes)}, compared with {file}", *to_lines(changes), f"compared: {words}"])
    if as_json:
        typer.echo(json.dumps({"failed": failed} | answer, indent=2))
    for file, export in ((github_benchmark, to_github_benchmark), (bencher, to_bencher)):
        if file is not None:
            _write(file, json.dumps(export(now), indent=2) + "\n")
    if summary is not None:
        _write(summary, "\n".join(sections), mode="a")
    if failed and not as_json:
        _print([f"if this is meant: peakbench baseline update {now.suite} --baseline {path}"])
    sys.exit(1 if failed else 0)


def update(
    suite: Annotated[str, typer.Argument(help="Suite by name or .toml file.")],
    baseline: BaselineFile = None,
    time_limit: TimeLimit = 300.0,
    _plugin: PluginFiles = None,
) -> None:
    """Simulate a suite and make it the baseline, after showing what changes.

    Exit code 1, and nothing written, where a case cannot be simulated.

    Example:  peakbench baseline update smoke
    """
    from reports.changes import explain_basis, summarise, to_lines  # noqa: PLC0415 - as in check

    path = baseline or FOLDER / f"{_stem(suite)}.json"
    now = _simulate(suite, time_limit)
    broken = [entry for entry in now.entries if entry.status != "ok"]
    if broken:
        _print([f"{entry.case.label}: {entry.status}: {entry.message}" for entry in broken])
        _print([f"{path} is left as it is"])
        sys.exit(1)
    if path.exists():
        before = read_baseline(path)
        changes: list[Change] = compare(before, now, Tolerance())
        _print(
            [summarise(changes), *to_lines(changes), f"compared: {explain_basis(basis_of(before, now), before, now)}"]
        )
    write_baseline(path, now)
    _print([f"{path}: {len(now.entries)} cases"])


def _find_baseline(suite: str | None, baseline: Path | None) -> Path:
    from bench.check import CheckError  # noqa: PLC0415 - as in run

    if suite is not None:
        load_suite(suite)  # a wrong name is said before its baseline is missed
    elif baseline is None:
        raise CheckError("name a suite or its baseline file: peakbench check smoke")
    return baseline or FOLDER / f"{_stem(suite or '')}.json"


def _stem(suite: str) -> str:
    return Path(suite).stem if suite.endswith(".toml") else suite


def _simulate(suite: str, time_limit: float) -> Baseline:
    from bench.check import simulate_suite  # noqa: PLC0415 - as in check

    cases = load_suite(suite).simulated_cases()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("cases", total=len(cases))
        return simulate_suite(suite, cases, time_limit, lambda: progress.advance(task))


def _read_tolerance(text: str | None, *, exact: bool) -> Tolerance:
    if text is None:
        return Tolerance() if exact else Tolerance(fraction=RATIO_TOLERANCE)
    if text.endswith("%"):
        try:
            return Tolerance(fraction=float(text[:-1]) / 100)
        except ValueError:
            pass
    try:
        return Tolerance(bytes=read_bytes(text) or 0)
    except CaseError as error:
        raise CaseError(f"cannot read the tolerance '{text}': write 2%, 4MiB or bytes") from error


def _write(path: Path, text: str, mode: Literal["w", "a"] = "w") -> None:
    try:
        with path.open(mode) as file:
            file.write(text)
    except OSError as error:
        raise CaseError(f"cannot write {path}: {error.strerror}") from error


def _print(lines: list[str]) -> None:
    console = Console()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
