"""Writes the generated parts of the documents: every figure in them comes from here.

python docs/generate.py            rewrite them
python docs/generate.py --check    say which are out of date; exit code 1 if any is
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from bench.ground_truth import read_ground_truth
from bench.validate import Comparison, summarise
from bench.worker import simulate_truth
from docs import cards, hand_placed, measured, papers, public_placements, public_readings, splits
from docs.simulations import Asked, answer, prepare
from docs.tables import write_table
from reports.units import format_gib, format_percent
from results.schema import SCHEMA

ROOT = Path(__file__).parents[1]
EXAMPLES = [
    ("e2e", 1),
    ("checkpoint", 1),
    ("dgl", 4),
    ("infopro[contrast]", 4),
    ("contsup[R1E]", 4),
    ("dgl", 16),
    ("infopro[contrast]", 16),
    ("contsup[R1E]", 16),
]


def resnet110() -> str:
    """What the methods cost on ResNet-110 and CIFAR-10, simulated."""
    rows = []
    e2e = answer(Asked("e2e", "resnet110")).readings
    for method, module_count in EXAMPLES:
        r = answer(Asked(method, "resnet110", module_count)).readings
        rows.append(
            [
                f"`{method}`",
                str(module_count),
                format_gib(r.peak_allocated_bytes),
                format_percent((r.peak_allocated_bytes or 0) / (e2e.peak_allocated_bytes or 1)),
                f"+{format_percent(r.theoretical_overhead)}",
                f"+{format_percent((r.inference_macs or 0) / (e2e.inference_macs or 1) - 1)}",
            ]
        )
    return write_table(["method", "K", "peak GiB", "of E2E", "extra training FLOPs", "extra inference FLOPs"], rows)


def schema() -> str:
    """Every column of the Parquet files."""
    rows = []
    for field in SCHEMA:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        kind = f"{field.type}".replace("element: ", "").replace("item: ", "")
        rows.append([f"`{field.name}`", kind, metadata["unit"], metadata["description"]])
    return write_table(["column", "type", "unit", "meaning"], rows)


def example() -> str:
    """The example plugin, word for word."""
    return f"```python\n{(ROOT / 'tests/example_plugin/peakbench_predsim.py').read_text()}```"


def ground_truth() -> str:
    """Errors of the simulator beside every file of `results/reference`, in the steady step."""
    rows = []
    for path in sorted((ROOT / "results" / "reference").glob("*.json")):
        truth = read_ground_truth(path)
        simulated = simulate_truth(truth, lambda _: None)
        pairs = zip(truth.cases, simulated, strict=True)
        errors = {
            one.kind: "exact" if one.worst == 0 else f"{100 * one.median:.2f} %, {100 * one.worst:+.2f} %"
            for one in summarise(Comparison(truth=case, simulated=peaks) for case, peaks in pairs)
            if one.step == "steady"
        }
        device = str(truth.device["title"]) + (" (stand-in)" if truth.device["stand_in"] else "")
        rows.append([f"`{path.name}`", device, str(truth.versions["torch"]), str(len(truth.cases)), *errors.values()])
    return write_table(["file", "device", "torch", "cases", "requested", "allocated", "reserved"], rows)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "resnet110": ("README.md", resnet110),
    "ground truth": ("docs/simulator.md", ground_truth),
    "plain steps": ("docs/simulator.md", measured.plain_steps),
    "measured steps": ("docs/measuring.md", measured.steps),
    "public streams": ("docs/simulator.md", public_readings.streams),
    "public placements": ("docs/simulator.md", public_placements.placements),
    "schema": ("docs/schema.md", schema),
    "splits": ("docs/splits.md", splits.splits),
    "segments": ("docs/splits.md", splits.segments),
    "hand-placed splits": ("docs/splits.md", hand_placed.hand_placed),
    "unit costs": ("docs/splits.svg", splits.unit_costs),
    "definitions": ("docs/papers.md", papers.definitions),
    "cells": ("docs/papers.md", papers.cells),
    "shared": ("docs/papers.md", papers.shared),
    "example": ("docs/adding-a-method.md", example),
    **cards.parts(),
}


def main() -> int:
    """Rewrite or check every part."""
    examples = [Asked(method, "resnet110", module_count) for method, module_count in EXAMPLES]
    prepare([*examples, *papers.wanted(), *cards.wanted()])
    stale = []
    for name, (file, write) in PARTS.items():
        path = ROOT / file
        before = path.read_text()
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        after, count = pattern.subn(lambda match, write=write: f"{match[1]}{write()}\n{match[2]}", before)
        if count != 1:
            raise SystemExit(f"{file} has no place for '{name}'")
        if after != before:
            stale.append(f"{file} ({name})")
            if "--check" not in sys.argv:
                path.write_text(after)
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
