"""What the documents show runs; `nox -s docs -- --check` compares their figures with the code."""

import re
from pathlib import Path
from textwrap import dedent

import torch

from bench.cases import make_case
from bench.environment import read_environment
from docs.measured import steps
from methods.registry import METHODS
from results.record import Measurement, Readings
from results.store import write_file

ROOT = Path(__file__).parents[1]


def test_the_example_of_a_network_of_ones_own_runs():
    text = (ROOT / "docs/networks.md").read_text()
    (code,) = re.findall(r"((?:^    .*\n|^\n)*^    training = .*\n)", text, re.MULTILINE)
    names = {}
    exec(dedent(code), names)
    result = names["training"].training_step(torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]))
    assert len(result.losses) == 4
    assert all(parameter.grad is not None for parameter in names["network"].parameters())


def test_every_registered_method_has_a_card_with_its_claim_and_its_readings():
    cards = {path.stem: path.read_text() for path in (ROOT / "docs" / "methods").glob("*.md") if path.stem != "README"}
    assert cards.keys() == METHODS.keys()
    for name, text in cards.items():
        assert f"`{name}" in text.splitlines()[0] or f"`+{name}" in text.splitlines()[0]
        for heading in ("## What it is", "## Source and departures", "## Readings"):
            assert heading in text, f"{name}.md has no '{heading}'"


def test_rows_measured_on_a_gpu_become_a_table_and_others_do_not(tmp_path):
    assert steps(tmp_path) == "None yet."
    readings = Readings(
        peak_allocated_bytes=3 * 2**20, device_process_bytes=600 * 2**20, device_process_source="device",
        context_bytes=500 * 2**20, step_seconds=(0.2, 0.2), reference_step_seconds=(0.1, 0.1), block_step_count=1,
        step_energy_joules=(0.0, 3.0), latency_seconds=(0.002,), flags=("low clock",),
    )  # fmt: skip
    rows = [
        Measurement(
            case=make_case(method="dgl", network="resnet32", module_count=4), provenance="measured", device=device,
            measure="step", status="ok", started_at="2026-11-21T12:00:00+00:00", wall_seconds=1.0, readings=readings,
            environment=read_environment("NVIDIA H200"),
        )
        for device in ("cuda", "cpu")
    ]  # fmt: skip
    write_file(tmp_path / "rows.parquet", rows)
    (line,) = steps(tmp_path).splitlines()[2:]
    device, _, case, *numbers = line.strip("| ").split(" | ")
    assert (device, case) == ("NVIDIA H200", "`dgl resnet32 K=4`, batch 1024")
    assert numbers == ["3.0", "600.0", "500.0", "device", "200.0", "2.000", "1.5", "2.000", "low clock"]
