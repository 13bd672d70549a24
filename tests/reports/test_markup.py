"""LaTeX and HTML: read back by a parser of each, and LaTeX by LaTeX itself where it is installed."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from reports.latex import escape
from reports.layout import Column, Table
from reports.render import render

SPECIAL = r"50% & $a_b^c$ ~{x} #1 \y <2> |3| ±4"


def make_table(title="A title"):
    labels = (Column("Method", ("e2e", "contsup[R1E]", "  50% more"), align="left"), Column("K", ("1", "16", "")))
    groups = (
        (
            Column("peak\nGiB", ("8.00", "out of memory", "-")),
            Column("paper", ("-", "+5.9%", "<1")),
        ),
    )
    return Table(title=title, labels=labels, groups=groups, rows=(), notes=("a note & more", "2^30 bytes"))


def test_latex_is_a_table_with_booktabs_rules_and_escaped_cells():
    assert render([make_table("resnet110: a_b")], "latex") == (
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\caption{resnet110: a\\_b}\n"
        "  \\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        "  \\begin{tabular}{lrrr}\n"
        "    \\toprule\n"
        "     &  & peak &  \\\\\n"
        "    Method & K & GiB & paper \\\\\n"
        "    \\midrule\n"
        "    e2e & 1 & 8.00 & - \\\\\n"
        "    contsup{[}R1E{]} & 16 & out of memory & +5.9\\% \\\\\n"
        "    \\quad 50\\% more &  & - & \\textless{}1 \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}}\n"
        "  \\par\\smallskip\\footnotesize\\raggedright\n"
        "  a note \\& more\\par\n"
        "  2\\textasciicircum{}30 bytes\\par\n"
        "\\end{table}\n"
    )


def test_no_special_character_of_latex_is_left_bare():
    bare = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\$\\\w+\$", "", escape(SPECIAL))
    assert not set(bare) & set("&%$#_{}~^\\<>|±")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="LaTeX is not installed")
@pytest.mark.parametrize("name", ["overhead", "table10"])
def test_latex_compiles(tmp_path, name, suite_tables):
    tables = [*suite_tables[name], make_table(SPECIAL)]
    source = tmp_path / "tables.tex"
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    source.write_text(f"{packages}\n{render(tables, 'latex')}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


class Reader(HTMLParser):
    """Opening tags with their attributes, the texts in them, and whether every tag is closed."""

    VOID = ("meta",)

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.found = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.found.append((tag, dict(attributes)))
        if tag in ("th", "td"):
            self.cells.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1][2] += text


@pytest.fixture
def page():
    reader = Reader()
    reader.feed(render([make_table("<b>"), make_table()], "html"))
    assert not reader.open
    return reader


def test_html_has_a_language_a_caption_per_table_and_only_closed_tags(page):
    tags = [tag for tag, _ in page.found]
    assert ("html", {"lang": "en"}) in page.found
    assert tags.count("table") == tags.count("caption") == 2
    assert "b" not in tags


def test_html_says_what_every_header_cell_is_of_and_puts_numbers_to_the_right(page):
    number = {"class": "number"}
    assert page.cells[:8] == [
        ["th", {"scope": "col"}, "Method"],
        ["th", {"scope": "col"} | number, "K"],
        ["th", {"scope": "col"} | number, "peak\nGiB"],
        ["th", {"scope": "col"} | number, "paper"],
        ["th", {"scope": "row"}, "e2e"],
        ["td", number, "1"],
        ["td", number, "8.00"],
        ["td", number, "-"],
    ]
    assert ["td", number, "<1"] in page.cells


def test_html_needs_no_other_file(page):
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.found)
