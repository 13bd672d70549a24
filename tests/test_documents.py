"""What the documents show runs; `nox -s docs -- --check` compares their figures with the code."""

import re
from pathlib import Path
from textwrap import dedent

import torch

from methods.registry import METHODS

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
