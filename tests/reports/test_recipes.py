"""The recipes of docs/reports.md, run as they stand there."""

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

from results.samples import Holder
from results.store import write_file

TEXT = (Path(__file__).parents[2] / "docs" / "reports.md").read_text().partition("## Recipes")[2]
BLOCKS = [dedent(block) for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)]
MIB = 2**20


@pytest.fixture
def run(simulated, measured, monkeypatch, tmp_path):
    """Greedy beats DGL at K = 4; checkpointing is slower and larger than either."""
    rows = []
    for method, count, ratio, held in (
        ("e2e", 1, 1.0, {"activations": 800, "parameters": 24}),
        ("checkpoint", 1, 1.3, {"activations": 300, "parameters": 24}),
        ("greedy", 4, 1.1, {"activations": 200, "parameters": 24}),
        ("dgl", 4, 1.2, {"activations": 220, "auxiliary": 20, "parameters": 24}),
        ("dgl", 16, 1.5, {"activations": 100, "auxiliary": 20, "parameters": 24}),
    ):
        parts = tuple(Holder(category=name, module=0, bytes=size * MIB) for name, size in held.items())
        peak = sum(each.bytes for each in parts)
        rows += [
            simulated(method, count, peak_allocated_bytes=peak, peak_holders=parts),
            measured(method, count, step_seconds=(ratio,) * 3, reference_step_seconds=(1.0,) * 3),
        ]
    folder = tmp_path / "runs" / "cifar"
    folder.mkdir(parents=True)
    write_file(folder / "cifar.parquet", rows)
    monkeypatch.chdir(tmp_path)


def value_of(block):
    """Value of the last line of a block of Python."""
    *lines, last = ast.parse(block).body
    names = {}
    exec(compile(ast.Module(lines, []), "recipe", "exec"), names)
    return eval(compile(ast.Expression(last.value), "recipe", "eval"), names)


def block_of(beginning, words=""):
    (block,) = [block for block in BLOCKS if block.startswith(beginning) and words in block]
    return block


def test_every_block_is_tried_here():
    assert len(BLOCKS) == 5


def test_ratios_to_e2e_by_k(run):
    table = value_of(block_of("import results", "ratio="))
    assert table.loc[("resnet110", "dgl"), 16] == pytest.approx(144 / 824)
    assert table.loc[("resnet110", "e2e"), 1] == 1


def test_the_pareto_front(run):
    front = value_of(block_of("import numpy"))
    assert list(zip(front.method, front.module_count, front.slower, strict=True)) == [
        ("dgl", 16, 1.5),
        ("greedy", 4, pytest.approx(1.1)),
        ("e2e", 1, 1.0),
    ]


def test_memory_by_category_in_pandas(run):
    table = value_of(block_of("import results", "explode"))
    row = table.loc[("resnet110", "dgl", 4)]
    assert row["activations"] == 220 / 1024
    assert row.sum() == pytest.approx(264 / 1024)


def test_memory_by_category_in_duckdb(run):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    found = duckdb.sql(block_of("select")).fetchall()
    assert ("resnet110", "dgl", 4, "auxiliary", 20 / 1024) in found
    assert len(found) == 12


def test_memory_by_category_in_polars(run):
    pytest.importorskip("polars", reason="polars is not installed")
    rows = value_of(block_of("import polars")).rows()
    assert ("resnet110", "dgl", 4, "auxiliary", 20 / 1024) in rows
    assert len(rows) == 12
