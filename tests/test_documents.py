"""Figures in the documents are those the code gives."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import torch

from methods.registry import METHODS

ROOT = Path(__file__).parents[1]


def test_generated_parts_of_the_documents_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


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
