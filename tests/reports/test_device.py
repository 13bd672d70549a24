"""Peaks measured on a GPU beside simulated ones, least memory, and where a step's time goes."""

import pytest

from reports.comparison import ReportError
from reports.device import device
from reports.render import render


def test_every_peak_has_the_error_of_the_simulator_beside_it(gpu_rows):
    (table,) = device(gpu_rows)
    line = next(line for line in render([table], "markdown").splitlines() if line.startswith("| dgl"))
    values = [cell.strip() for cell in line.strip("|").split("|")]
    assert values == [
        "dgl", "2", *["100.0", "-5.0%"] * 4, "600.0", "500.0", "90.0", "+0.0%", "200.0", "25.0%", "81.00", "4.000",
        "16,000",
    ]  # fmt: skip
    assert any("dgl K=2: throttled" in note for note in table.notes)


def test_what_was_not_simulated_or_measured_has_no_number(gpu_rows):
    (table,) = device(gpu_rows)
    line = next(line for line in render([table], "markdown").splitlines() if line.startswith("| e2e"))
    assert [cell.strip() for cell in line.strip("|").split("|")][2:4] == ["200.0", "-"]


def test_without_a_gpu_there_is_nothing_to_report(suite):
    with pytest.raises(ReportError, match="no case of this run was measured on a GPU"):
        device(suite)
