"""What holds a peak, as a table and as bars: both add up to it."""

import pytest

from reports.charts import draw_bars
from reports.comparison import ReportError
from reports.holders import holder_bars, holders
from reports.inline_charts import lay_out_bars
from reports.panels import COLOURS, Bar, BarPanel, stack
from results.samples import Holder

MIB = 2**20


@pytest.fixture
def run(simulated):
    def make(method, count, **sizes):
        held = tuple(
            Holder(category=category, module=module, bytes=size * MIB)
            for category, parts in sizes.items()
            for module, size in parts.items()
        )
        return simulated(method, count, peak_allocated_bytes=sum(each.bytes for each in held), peak_holders=held)

    return [
        make("e2e", 1, parameters={None: 10}, activations={0: 90}),
        make("dgl", 2, parameters={None: 10}, activations={0: 20, 1: 30}, auxiliary={1: 10}),
        simulated("dgl", 4, status="out_of_memory"),
        simulated("greedy", 2, gib=1),
    ]


def test_categories_add_up_to_the_peak_and_the_module_that_holds_most_is_named(run):
    (table,) = holders(run)
    columns = [*table.labels, *(column for group in table.groups for column in group)]
    assert [column.header for column in columns] == [
        "Method", "K", "peak\nMiB", "most in\nmodule", "parameters\nMiB", "activations\nMiB", "auxiliary\nMiB",
    ]  # fmt: skip
    assert list(zip(*(column.cells for column in columns), strict=True)) == [
        ("e2e", "1", "100.0", "1, 90.0%", "10.0", "90.0", "0.0"),
        ("greedy", "2", "1024.0", "-", "-", "-", "-"),
        ("dgl", "2", "70.0", "2, 57.1%", "10.0", "50.0", "10.0"),
        ("dgl", "4", "out of memory", "-", "-", "-", "-"),
    ]


def test_bars_are_the_same_numbers(run):
    (panel,) = holder_bars(run)
    assert [(bar.label, bar.size // MIB) for bar in panel.bars] == [("e2e", 100), ("dgl, K=2", 70)]
    assert panel.bars[1].parts == (("parameters", 10 * MIB), ("activations", 50 * MIB), ("auxiliary", 10 * MIB))


def test_rows_of_an_earlier_schema_have_no_such_report(simulated):
    with pytest.raises(ReportError, match="no row of this run says what holds its peak"):
        holders([simulated("e2e", gib=1)])


def test_unknown_categories_come_last_and_empty_ones_not_at_all():
    assert stack({"new": 1, "activations": 2, "input": 0, "parameters": 3}) == (
        ("parameters", 3),
        ("activations", 2),
        ("new", 1),
    )


def test_bars_on_the_page_are_in_proportion_and_touch(run):
    drawing = lay_out_bars(holder_bars(run)[0])
    first, second = drawing.strips
    widths = [sum(part.width for part in strip.parts) for strip in drawing.strips]
    assert widths[1] / widths[0] == pytest.approx(0.7, abs=0.01)
    for left, right in zip(second.parts, second.parts[1:], strict=False):
        assert left.x + left.width == pytest.approx(right.x, abs=0.11)
    assert first.tip == "e2e: 100.0 MiB: parameters 10.0, activations 90.0"
    assert [name for _, name in drawing.categories] == ["parameters", "activations", "auxiliary"]
    assert all(list(COLOURS)[number] == name for number, name in drawing.categories)


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_bars_are_written_with_the_colours_of_their_categories_and_a_marked_line(tmp_path, kind, magic):
    bars = (Bar(label="module 1", parts=(("activations", 3 * MIB),)), Bar(label="module 2", parts=(("new", MIB),)))
    path = tmp_path / f"bars.{kind}"
    draw_bars([BarPanel(title="dgl", bars=bars, mark=2 * MIB, mark_words="peak of the step")], path)
    content = path.read_bytes()
    assert content.startswith(magic)
    if kind == "svg":
        text = content.decode().lower()
        assert COLOURS["activations"].lower() in text
        assert "<!-- peak of the step -->" in text
        assert COLOURS["auxiliary"].lower() not in text
