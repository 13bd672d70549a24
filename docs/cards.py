"""The generated parts of the method cards: departures, what papers print, and our readings beside it."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Literal

from docs.simulations import Asked, answer
from docs.tables import write_table
from methods.api import Method
from methods.registry import METHODS, read_spec
from reports.published import Metric, Place, published, published_ratio
from reports.units import NOTHING, format_change, format_gib, format_percent

NETWORKS = ("resnet32", "resnet110")
MODULE_COUNTS = (2, 4, 8, 16)
IN_ROUNDS = (2, 4)
"""K of methods that train one module after the other: every round is a simulation, and more is not printed."""
SPECS = {
    "infopro": ("infopro[softmax]", "infopro[contrast]"),
    "contsup": ("contsup[E]", "contsup[R1E]"),
    "asy_infopro": ("asy_infopro[contrast]",),
    "decoder": ("contsup[R1E]+decoder",),
}
"""What a card shows of methods with variants; of others the method by itself, or behind `dgl`."""


def parts() -> dict[str, tuple[str, Callable[[], str]]]:
    """The generated parts of all cards, as `docs/generate.py` wants them."""
    found: dict[str, tuple[str, Callable[[], str]]] = {}
    for name in METHODS:
        file = f"docs/methods/{name}.md"
        found[f"{name} source"] = (file, lambda name=name: source(METHODS[name]))
        found[f"{name} numbers"] = (file, lambda name=name: numbers(name))
    return found


def wanted() -> list[Asked]:
    """Every case the cards need."""
    e2e = [Asked("e2e", network) for network in NETWORKS]
    return e2e + [case for name in METHODS for case in _cases(name)]


def source(method: Method) -> str:
    """Source and departures, from the method's own file."""
    file = next(
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("methods.") and name != "methods.registry" and method in vars(module).values()
    )
    text = inspect.getdoc(file) or ""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n(?=Departures)", text[text.index("Source:") :]))


def numbers(name: str) -> str:
    """Simulated readings of the published cells, each beside what is printed of it."""
    rows = []
    for case in _cases(name):
        found = answer(case)
        e2e = answer(Asked("e2e", case.network)).readings
        readings = found.readings
        step, required = readings.training_flops or 0, found.required_flops
        rows.append([
            f"`{case.method}`", case.network, str(case.module_count),
            format_gib(readings.peak_allocated_bytes),
            format_percent((readings.peak_allocated_bytes or 0) / (e2e.peak_allocated_bytes or 1)),
            _printed(case, "training_memory", "ratio"),
            f"{step / 1e12:.2f}",
            NOTHING if required is None else f"{required / 1e12:.2f}",
            format_change(step / (e2e.training_flops or 1) - 1),
            f"{readings.parameter_count or 0:,}", f"{readings.deployed_parameter_count or 0:,}",
            _printed(case, "test_error", "value"),
        ])  # fmt: skip
    return write_table(
        ["method", "network", "K", "peak GiB", "of E2E", "printed", "TFLOP a step", "by definition", "beside E2E",
         "trained parameters", "deployed", "error % as printed"],
        rows,
    )  # fmt: skip


def _cases(name: str) -> list[Asked]:
    method = METHODS[name]
    specs = SPECS.get(name, (name if method.begins is not None else f"dgl+{name}",))
    cases = []
    for spec in specs:
        parts = read_spec(spec).parts
        counts = (1,) if parts.local_loss is None else IN_ROUNDS if parts.sequential else MODULE_COUNTS
        cases += [Asked(str(read_spec(spec)), network, count) for network in NETWORKS for count in counts]
    return cases


def _printed(case: Asked, metric: Metric, kind: Literal["ratio", "value"]) -> str:
    place = Place(dataset="cifar10", network=case.network, method=case.method, module_count=case.module_count)
    if kind == "ratio":
        ratio = published_ratio(metric, place)
        if ratio is not None:
            return format_percent(ratio.value)
        figure = published(metric, place)
        return NOTHING if figure is None else f"{figure.value:g} {figure.unit}"
    figure = published(metric, place)
    return NOTHING if figure is None else f"{figure.value:g}"
