"""`peakbench report` and `peakbench compare`, called in this process."""

import sys

import pytest

from bench.__main__ import main
from results.store import write_file


@pytest.fixture
def peakbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["peakbench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def write(tmp_path):
    """Write measurements as a run."""

    def write(name, rows):
        write_file(tmp_path / f"{name}.parquet", rows)
        return tmp_path / f"{name}.parquet"

    return write


@pytest.mark.parametrize("name", ["splits", "tradeoff"])
def test_a_report_is_printed_and_its_figure_drawn(name, peakbench, write, suite, tmp_path):
    figure = tmp_path / "figure.png"
    code, text, _ = peakbench("report", name, "--run", write("suite", suite), "--figure", figure)
    assert code == 0
    assert text.startswith("resnet32 on cifar10")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_a_report_that_has_none_is_a_message(peakbench, write, suite, tmp_path):
    code, text, error = peakbench("report", "overhead", "--run", write("a", suite), "--figure", tmp_path / "figure.png")
    assert (code, text) == (2, "")
    assert error == "error: report 'overhead' has no figure; those that have: memory, splits, tradeoff\n"


@pytest.mark.parametrize(("form", "start"), [("latex", "% needs"), ("html", "<!DOCTYPE html>"), ("markdown", "### ")])
def test_every_format_is_an_option(form, start, peakbench, write, suite):
    code, text, _ = peakbench("report", "memory", "--run", write("suite", suite), "--format", form)
    assert code == 0
    assert text.startswith(start)
