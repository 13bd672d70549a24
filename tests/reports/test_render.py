import csv
import io
import json

import pytest
from rich.cells import cell_len

from reports.layout import Column, Table
from reports.render import FORMATS, render
from reports.tables import REPORTS, memory


def make_table(title="A title", groups=None, notes=("a note",), labels=None):
    labels = labels or (Column("Method", ("e2e", "contsup[R1E]"), align="left"), Column("K", ("1", "16")))
    groups = groups or ((Column("peak\nGiB", ("8.00", "0.50")), Column("paper", ("-", "1|2"))),)
    return Table(title=title, labels=labels, groups=groups, rows=(), notes=notes)


def test_rich_shows_title_header_lines_and_notes():
    assert render([make_table()], "rich") == (
        "A title\n"
        "\n"
        "                  peak\n"
        "Method         K   GiB  paper\n"
        "─────────────────────────────\n"
        "e2e            1  8.00      -\n"
        "contsup[R1E]  16  0.50    1|2\n"
        "\n"
        "a note\n"
    )


def test_markdown_is_a_table_with_escaped_pipes_and_a_list_of_notes():
    assert render([make_table()], "markdown") == (
        "### A title\n"
        "\n"
        "| Method | K | peak GiB | paper |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| e2e | 1 | 8.00 | - |\n"
        "| contsup[R1E] | 16 | 0.50 | 1\\|2 |\n"
        "\n"
        "- a note\n"
    )


def test_square_brackets_and_colons_are_text_and_not_markup():
    labels = (Column("Method", ("infopro[bold]", ":smile:"), align="left"),)
    assert all(text in render([make_table(labels=labels)], "rich") for text in ("infopro[bold]", ":smile:"))


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_of_a_whole_suite_fits_in_80_columns(name, suite_tables):
    text = render(suite_tables[name], "rich")
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize("name", ["overhead", "memory"])
def test_out_of_memory_fits_as_well(name, suite, simulated):
    rows = [*suite, simulated("dgl", 2, network="resnet32", status="out_of_memory")]
    text = render(REPORTS[name].build(rows), "rich")
    assert "out of memory" in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_a_wide_table_is_folded_between_groups_and_repeats_its_labels():
    groups = tuple((Column(f"first {n}", ("1", "2")), Column(f"second {n}", ("3", "4"))) for n in range(4))
    lines = render([make_table(groups=groups)], "rich", console_width=60).splitlines()
    heads = [line.split("  ") for line in lines if line.startswith("Method")]
    assert len(heads) == 2
    for n in range(4):
        assert sum(any(text.strip() == f"first {n}" for text in head) for head in heads) == 1
        assert [f"first {n}" in " ".join(head) for head in heads] == [f"second {n}" in " ".join(head) for head in heads]
    assert sum(line.startswith("contsup[R1E]") for line in lines) == 2


def test_columns_move_closer_before_a_table_is_folded():
    groups = ((Column("peak", ("8.00", "0.50")),), (Column("paper", ("-", "1")),))
    assert "contsup[R1E]  16  0.50      1" in render([make_table(groups=groups)], "rich", console_width=29)
    assert "contsup[R1E] 16 0.50     1" in render([make_table(groups=groups)], "rich", console_width=28)
    assert "contsup[R1E]  16  0.50\n" in render([make_table(groups=groups)], "rich", console_width=25)


def test_a_group_wider_than_the_screen_is_shown_whole():
    assert "contsup[R1E]  16  0.50    1|2" in render([make_table()], "rich", console_width=10)


def test_a_wide_screen_needs_no_folding(suite_tables):
    tables = suite_tables["overhead"]
    assert render(tables, "rich", console_width=200).count("Method") == len(tables)


def test_notes_that_all_tables_share_are_said_once_at_the_end():
    tables = [make_table(title, notes=("shared", f"own of {title}")) for title in ("one", "two")]
    for form in ("rich", "markdown"):
        text = render(tables, form)
        assert text.count("shared") == 1
        assert text.index("own of one") < text.index("two") < text.index("own of two") < text.index("shared")


def test_long_notes_are_wrapped_and_indented():
    text = render([make_table(notes=("word " * 30,))], "rich", console_width=40)
    note = text[text.index("word") :].splitlines()
    assert all(len(line) <= 40 for line in note)
    assert all(line.startswith("  word") for line in note[1:])


def test_csv_keeps_raw_values_one_row_per_case(simulated):
    tables = memory([simulated("e2e", gib=8), simulated("dgl", 2, gib=2), simulated("e2e", gib=3, network="resnet32")])
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert [row["method"] for row in rows] == ["e2e", "e2e", "dgl"]
    assert rows[2]["peak_allocated_bytes"] == str(2 * 2**30)
    assert float(rows[2]["peak_ratio"]) == 0.25
    assert rows[2]["step_seconds"] == ""


def test_json_keeps_raw_values_and_the_notes(simulated):
    tables = memory([simulated("e2e", gib=8), simulated("dgl", 2, gib=2)])
    (table,) = json.loads(render(tables, "json"))["tables"]
    assert table["rows"][1]["peak_ratio"] == 0.25
    assert table["rows"][1]["step_seconds"] is None
    assert table["notes"] == list(tables[0].notes)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_with_one_newline(form, suite_tables):
    text = render(suite_tables["table12"], form)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_the_terminals_environment_has_no_say(monkeypatch, suite_tables):
    tables = suite_tables["memory"]
    plain = render(tables, "rich")
    for name, value in {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert render(tables, "rich") == plain
