"""Every report as its reader sees it, in `__snapshots__`; `nox -s tests -- --snapshot-update` rewrites them."""

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from reports.render import render
from reports.tables import REPORTS

WIDTH = 80


class Text(SingleFileSnapshotExtension):
    """A text file for each table, to be read and compared as such."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def golden(snapshot):
    return snapshot.use_extension(Text)


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_in_a_terminal(name, suite_tables, golden):
    text = render(suite_tables[name], "rich", WIDTH)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text == golden


@pytest.mark.parametrize("form", ["markdown", "latex", "html", "csv"])
def test_a_report_in_every_format(form, suite_tables, golden):
    assert render(suite_tables["imagenet"], form) == golden
