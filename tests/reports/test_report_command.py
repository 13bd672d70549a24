"""`peakbench report` and `peakbench compare`, called in this process."""

import json

import pytest

from results.store import write_file


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
    assert error == "error: report 'overhead' has no figure; those that have: memory, holders, splits, tradeoff\n"


@pytest.mark.parametrize(("form", "start"), [("latex", "% needs"), ("html", "<!DOCTYPE html>"), ("markdown", "### ")])
def test_every_format_is_an_option(form, start, peakbench, write, suite):
    code, text, _ = peakbench("report", "memory", "--run", write("suite", suite), "--format", form)
    assert code == 0
    assert text.startswith(start)


def test_compare_says_what_changed_as_text_markdown_and_json(peakbench, write, simulated):
    runs = [write(name, [simulated("dgl", 2, gib=gib)]) for name, gib in (("a", 1), ("b", 2))]
    code, text, _ = peakbench("compare", *runs)
    assert code == 0
    assert text.startswith(f"{runs[0]} -> {runs[1]}: 1 grew\n\nresnet110 on cifar10")
    assert max(map(len, text.splitlines()[1:])) <= 80
    assert (
        "| grew | dgl | 2 | equal | 1.00 | 2.00 | +100.0% |" in peakbench("compare", *runs, "--format", "markdown")[1]
    )
    shown = json.loads(peakbench("compare", *runs, "--json")[1])
    assert (shown["summary"], shown["unlike"]) == ("1 grew", [])
    assert [change["peak_growth"] for change in shown["changes"]] == [1.0]


def test_compare_of_equal_runs_is_a_line(peakbench, write, simulated):
    run = write("a", [simulated("dgl", 2, gib=1)])
    assert peakbench("compare", run, run) == (0, f"{run} -> {run}: 1 same\n", "")


def test_compare_of_unlike_runs_is_a_message(peakbench, write, simulated):
    runs = [write(name, [simulated("dgl", 2, gib=1, torch_version=name)]) for name in ("2.11.0", "2.15.0")]
    code, text, error = peakbench("compare", *runs)
    assert (code, text) == (2, "")
    assert "not alike: torch 2.11.0 and 2.15.0. Compare them all the same with --anyway" in error
    assert peakbench("compare", *runs, "--anyway")[1].endswith(": 1 same\nUnlike: torch 2.11.0 and 2.15.0.\n")
