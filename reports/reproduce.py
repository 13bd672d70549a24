"""How to make a run again: its cases as a suite file, and every simulated case as a command."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, replace

from reports.cells import OWN_SIZES
from results.record import Case, Environment, Measurement

OPTIONS = {
    field.name: field.default
    for field in fields(Case)
    if field.default is not MISSING and field.name not in ("data", "image_width")
}
"""Options of a case that go without saying, with their values."""
SIMULATED_OPTIONS = [name for name in OPTIONS if name != "compile"]
"""Those of `peakbench simulate`."""


def to_commands(measurements: Sequence[Measurement]) -> list[str]:
    """Install what made the run, run `suite.toml` and report it, line by line."""
    environments = [row.environment for row in measurements]
    versions = {f"torch=={each.torch_version.partition('+')[0]}": None for each in environments}
    data = sorted({row.case.data for row in measurements if row.case.data != "synthetic"})
    note = "  # its timings loaded images: add --data and --data-root" if data else ""
    return [
        *[f"git checkout {commit}" for commit in _commits(environments)],
        f"python3 -m pip install . {' '.join(versions)}",
        f"peakbench run suite.toml --out runs/again{note}",
        "peakbench report page --run runs/again --out report.html",
    ]


def _commits(environments: Iterable[Environment]) -> list[str]:
    found = {
        each.git_commit + ("  # and changes that were not committed" if each.git_dirty else "")
        for each in environments
        if each.git_commit
    }
    return sorted(found)


def to_suite(measurements: Sequence[Measurement]) -> str:
    """The cases of a run as a suite file: `peakbench run suite.toml` tries them again.

    Cases that differ in method and K alone share a grid, as far as it then holds no other case. Limits of timing are
    not in the records.
    """
    measurements = [row for row in measurements if row.measure == "step"]
    simulated = dict.fromkeys(row.case for row in measurements if row.provenance == "simulated")
    measured: dict[tuple[object, ...], dict[str, int]] = {}
    for row in measurements:
        if row.provenance == "measured":
            measured.setdefault(_question(row.case), {})[row.device] = row.case.batch_size
    cases = simulated or dict.fromkeys(row.case for row in measurements)
    grids: dict[tuple[Case, int | None], dict[str, list[int]]] = {}
    for case in cases:
        devices = measured.get(_question(case), {})
        key = (replace(case, method="", module_count=1, data="synthetic"), devices.get("cpu"))
        grids.setdefault(key, {}).setdefault(case.method, []).append(case.module_count)
    lines = ['title = "cases of an earlier run"']
    for (case, cpu_batch_size), methods in grids.items():
        shared: dict[tuple[int, ...], list[str]] = {}
        for method, counts in methods.items():
            shared.setdefault(tuple(sorted(counts)), []).append(method)
        for counts, names in shared.items():
            lines += ["", *_to_grid(case, cpu_batch_size, counts, names)]
    return "\n".join(lines) + "\n"


def _question(case: Case) -> tuple[object, ...]:
    """What is asked, whatever the batch: the simulated and the measured row of a case share it."""
    return tuple(getattr(case, field.name) for field in fields(Case) if field.name not in ("batch_size", "data"))


def _to_grid(case: Case, cpu_batch_size: int | None, counts: Sequence[int], methods: Sequence[str]) -> list[str]:
    given = {name: getattr(case, name) for name, usual in OPTIONS.items() if getattr(case, name) != usual}
    values: dict[str, object] = {
        "networks": [name_network(case)],
        "methods": list(methods),
        "modules": list(counts),
        "dataset": case.dataset,
        "split": case.split_policy,
        "batch_size": case.batch_size,
        **({"timed": False} if cpu_batch_size is None else {"cpu_batch_size": cpu_batch_size}),
        "optimizer": case.optimizer,
        **given,
    }
    return ["[[grid]]", *(f"{name} = {_to_toml(value)}" for name, value in values.items())]


def _to_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_to_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def name_network(case: Case) -> str:
    """The network as a command takes it, with the size of images that is not the dataset's: `resnet50@128`."""
    height, width = case.height_and_width
    if OWN_SIZES.get(case.dataset) == (height, width):
        return case.network
    return f"{case.network}@{height}" if height == width else f"{case.network}@{height}x{width}"


def to_simulation(row: Measurement) -> str:
    """The command that simulates one case again."""
    case = row.case
    words = ["peakbench", "simulate", case.method, "--network", name_network(case), "--dataset", case.dataset]
    words += ["--modules", str(case.module_count), "--split", case.split_policy, "--batch", str(case.batch_size)]
    for name in SIMULATED_OPTIONS:
        value, usual = getattr(case, name), OPTIONS[name]
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{option}" if value else f"--no-{option}"] if value != usual else []
        elif value != usual or name == "optimizer":
            words += [f"--{option}", value]
    if row.readings.workspace not in (None, "none"):
        words += ["--workspace", row.readings.workspace]
    return shlex.join(words)
