"""Suites: named grids of cases, as TOML files beside this one or of the user's own. Imports no torch."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from bench.cases import make_case
from bench.probes.limits import Limits
from results.record import Case


class SuiteError(ValueError):
    """A suite that does not exist, or a suite file that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every combination of its networks, methods and module counts."""

    networks: tuple[str, ...]
    methods: tuple[str, ...]
    modules: tuple[int, ...]
    batch_size: int
    """Images per step where memory is simulated, and where a GPU measures."""
    cpu_batch_size: int = 64
    """Images per step where a CPU is timed."""
    timed: bool = True
    """False: a CPU would take too long, so that times there stay unmeasured."""
    dataset: str | None = None
    """None: the network's own."""
    split: str = "equal"
    precision: str = "float32"
    tf32: bool = True
    memory_format: str = "contiguous"
    cudnn_benchmark: bool = False
    optimizer: str | None = None
    data: str = "synthetic"
    allocator: str = ""
    compile: str = "none"

    def cases(self, batch_size: int) -> Iterator[Case]:
        """The cases of the grid at a batch size; all of one network and K together, methods in the grid's order."""
        for network in self.networks:
            for method in self.methods:
                for module_count in self.modules:
                    yield make_case(
                        method=method,
                        network=network,
                        dataset=self.dataset,
                        module_count=module_count,
                        split=self.split,
                        batch_size=batch_size,
                        precision=self.precision,
                        tf32=self.tf32,
                        memory_format=self.memory_format,
                        cudnn_benchmark=self.cudnn_benchmark,
                        optimizer=self.optimizer,
                        data=self.data,
                        allocator=self.allocator,
                        compile=self.compile,
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named list of grids with the limits of their timing."""

    name: str
    title: str
    grids: tuple[Grid, ...]
    limits: Limits

    def simulated_cases(self) -> list[Case]:
        """Cases at the batch size of memory, but for compiled ones, which nobody can simulate."""
        return [
            replace(case, data="synthetic")
            for grid in self.grids
            if grid.compile == "none"
            for case in grid.cases(grid.batch_size)
        ]

    def with_options(self, **options: Any) -> "Suite":
        """The suite with other options of all its cases, by the names of the keys of a grid; None leaves an option."""
        chosen = {name: value for name, value in options.items() if value is not None}
        return replace(self, grids=tuple(replace(grid, **chosen) for grid in self.grids))

    def measured_cases(self, device: str) -> list[Case]:
        """Cases at the batch size that suits the device; on a CPU those of the grids it is timed on."""
        return [
            case
            for grid in self.grids
            if grid.timed or device != "cpu"
            for case in grid.cases(grid.cpu_batch_size if device == "cpu" else grid.batch_size)
        ]


def list_suites() -> list[Suite]:
    """The shipped suites, by name."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.toml"))]


def load_suite(name: str) -> Suite:
    """A shipped suite by name, or one from a TOML file by path.

    Raises:
        SuiteError: no such suite or file, or a file that is not a suite; says which and what is allowed.
    """
    shipped = {suite.name: suite for suite in list_suites()}
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix == ".toml":
        return _read(path)
    close = get_close_matches(name, shipped, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(shipped)}, or a path to a .toml file"
    raise SuiteError(f"unknown suite '{name}': {hint}")


def _read(path: Path) -> Suite:
    try:
        content = tomllib.loads(path.read_text())
        suite = Suite(
            name=path.stem,
            title=str(content.pop("title", path.stem)),
            grids=tuple(_make(Grid, grid) for grid in content.pop("grid", [])),
            limits=_make(Limits, content.pop("timing", {})),
        )
    except (OSError, TypeError, ValueError) as error:  # TOML and UTF-8 that cannot be read are ValueErrors
        raise SuiteError(f"cannot read suite file {path}: {error}") from error
    if content:
        raise SuiteError(f"suite file {path} has unknown keys {', '.join(content)}; it has title, grid and timing")
    if not suite.grids:
        raise SuiteError(f"suite file {path} has no [[grid]]")
    return suite


def _make(record: type, values: Any) -> Any:
    """A record from a TOML table, lists as tuples; an unknown, missing or unfit key is a TypeError that names it."""
    name = record.__name__.lower()
    if not isinstance(values, dict):
        raise TypeError(f"{name} is a table, not {values!r}")
    hints = get_type_hints(record)
    unknown = [key for key in values if key not in hints]
    if unknown:
        raise TypeError(f"unknown key '{unknown[0]}'; {name} has {', '.join(hints)}")
    for key, value in values.items():
        fits, words = _KINDS[hints[key]]
        if not fits(value):
            raise TypeError(f"{key} of {name} is {words}, not {value!r}")
    return record(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds  # true and false are no numbers here


def _lists(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and value != [] and all(type(each) is kind for each in value)


_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (_is(str), "a text"),
    str | None: (_is(str), "a text"),
    bool: (_is(bool), "true or false"),
    int: (_is(int), "a whole number"),
    float: (_is(int, float), "a number"),
    tuple[str, ...]: (_lists(str), "a list of texts"),
    tuple[int, ...]: (_lists(int), "a list of whole numbers"),
}
"""Whether a value of TOML fits a field of this type, and what fits it in words."""
