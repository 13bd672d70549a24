"""Charts are checked by the points they are given, and by the files they leave."""

import random

import pytest

from reports.agreement import agreement_panels
from reports.charts import draw_chart
from reports.comparison import ReportError
from reports.figures import FigureError
from reports.labels import place_labels
from reports.panels import AGREEMENT, PALETTE, PEAKS, TRADEOFF, Panel, Point, Series
from reports.splits import split_panels, splits
from reports.tables import find_figure
from reports.tradeoff import find_front, front_panels, tradeoff

KINDS = (PEAKS, TRADEOFF, AGREEMENT)


def timed(ratio):
    return {"step_seconds": (ratio,) * 3, "reference_step_seconds": (1.0,) * 3}


@pytest.fixture
def run(simulated, measured):
    """Greedy beats DGL, which beats checkpointing in time alone."""
    rows = [simulated("e2e", gib=8), measured("e2e", **timed(1.0))]
    for method, count, gib, ratio in (
        ("checkpoint", 1, 3, 1.3),
        ("greedy", 4, 2, 1.0625),
        ("dgl", 4, 2, 1.125),
        ("dgl", 16, 1, 1.5),
    ):
        rows += [simulated(method, count, gib=gib), measured(method, count, **timed(ratio))]
    return [*rows, simulated("dgl", 4, gib=1.5, split_policy="balanced")]


def cells(table):
    columns = [*table.labels, *(column for group in table.groups for column in group)]
    return list(zip(*(column.cells for column in columns), strict=True))


def test_splits_has_a_line_per_method_and_policy_and_columns_per_k(run):
    (table,) = splits(run)
    assert [column.header for group in table.groups for column in group] == [
        "K=4\nGiB",
        "of\nE2E",
        "K=16\nGiB",
        "of\nE2E",
    ]
    assert cells(table) == [
        ("greedy", "equal", "2.00", "25.0%", "", ""),
        ("dgl", "equal", "2.00", "25.0%", "1.00", "12.5%"),
        ("dgl", "balanced", "1.50", "18.8%", "", ""),
    ]
    assert table.notes[0].endswith("E2E: 8.00 GiB.")


def test_splits_says_why_a_peak_is_missing(simulated):
    (table,) = splits([simulated("e2e", gib=8), simulated("dgl", 2, status="out_of_memory", phase="first step")])
    assert cells(table) == [("dgl", "equal", "out of memory", "-")]
    assert "dgl K=2 (simulated): out of memory in first step" in table.notes


def test_curves_are_the_peaks_in_gib_with_dashes_per_policy(run):
    (panel,) = split_panels(run)
    assert panel.level == 8
    assert [(series.label, series.look, series.dash) for series in panel.series] == [
        ("greedy, equal", 0, 0),
        ("dgl, equal", 1, 0),
        ("dgl, balanced", 1, 1),
    ]
    assert panel.series[1].points == (Point(4, 2), Point(16, 1))


def test_a_network_keeps_the_looks_of_the_others(run, simulated):
    other = [simulated("dgl", 2, gib=1, network="resnet32"), simulated("e2e", gib=2, network="resnet32")]
    first, second = split_panels([*run, *other])
    assert first.series[0].look == next(series.look for series in second.series if series.label == "dgl, equal")


def test_splits_needs_local_modules(simulated):
    with pytest.raises(ReportError, match="no simulated case of more than one local module"):
        splits([simulated("e2e", gib=8)])


def test_tradeoff_marks_what_no_case_beats_in_both(run):
    (table,) = tradeoff(run)
    assert cells(table) == [
        ("e2e", "1", "", "8.00", "100.0%", "100.0%", "+0.0±0.0%", "-", "yes", "6.50"),
        ("checkpoint", "1", "", "3.00", "37.5%", "41.6%", "+30.0±0.0%", "1.275", "", "6.50"),
        ("greedy", "4", "equal", "2.00", "25.0%", "-", "+6.2±0.0%", "-", "yes", "13.16"),
        ("dgl", "4", "equal", "2.00", "25.0%", "-", "+12.5±0.0%", "-", "", "10.50"),
        ("dgl", "4", "balanced", "1.50", "18.8%", "-", "not run", "-", "-", "-"),
        ("dgl", "16", "equal", "1.00", "12.5%", "-", "+50.0±0.0%", "-", "yes", "13.80"),
    ]


def test_points_of_the_tradeoff_are_per_cent_with_k_and_published_error(run):
    (panel,) = front_panels(run)
    assert {series.label: series.points for series in panel.series}["dgl"] == (
        Point(25, 12.5, "4: 10.5%"),
        Point(12.5, 50, "16: 13.8%"),
    )
    assert panel.front == (Point(12.5, 50), Point(25, 6.25), Point(100, 0))
    assert "memory simulated at batch 1024" in panel.title
    assert "time measured at batch 64" in panel.title


def test_tradeoff_needs_times(simulated):
    with pytest.raises(ReportError, match="run a suite that times its cases"):
        tradeoff([simulated("e2e", gib=8), simulated("dgl", 2, gib=4)])


def test_the_front_is_that_of_its_definition():
    source = random.Random(0)
    for _ in range(50):
        points = [(source.randrange(6), source.randrange(6)) for _ in range(source.randrange(1, 12))]
        front = find_front(points)
        assert [points[place] for place in front] == sorted(points[place] for place in front)
        for place, (x, y) in enumerate(points):
            beaten = any((a < x and b <= y) or (a <= x and b < y) for a, b in points)
            assert (place in front) == (not beaten)


def test_simulated_peaks_stand_over_measured_ones_of_the_same_batch(simulated, measured):
    cuda = {"device": "cuda", "device_name": "H200"}
    rows = [
        simulated("e2e", gib=8.25),
        measured("e2e", peak_allocated_bytes=8 * 2**30, batch_size=1024, **cuda),
        simulated("dgl", 2, gib=3),
    ]
    (panel,) = agreement_panels(rows)
    assert panel.series == (Series("e2e", (Point(8, 8.25),), 0),)
    assert panel.title == "resnet110 on cifar10, measured on H200, batch 1024\nlargest error of 1 cases: 3.1%"


def test_agreement_needs_both_at_one_batch(run):
    with pytest.raises(ReportError, match="a simulated and a measured peak at one batch size"):
        agreement_panels(run)


def test_words_beside_points_never_overlap_nor_leave_the_axes():
    source = random.Random(1)
    for count in (1, 5, 40, 200):
        points = [(source.uniform(0, 300), source.uniform(0, 200)) for _ in range(count)]
        places = place_labels(points, [(25.0, 7.0)] * count, (0, 0, 300, 200), 3)
        boxes = [(x, y, x + 25, y + 7) for x, y in filter(None, places)]
        assert len(boxes) >= min(count, 5)
        assert all(left >= 0 and low >= 0 and right <= 300 and high <= 200 for left, low, right, high in boxes)
        for place, (left, low, right, high) in enumerate(boxes):
            assert not any(left < x < right and low < y < high for x, y in points)
            assert all(
                right <= other[0] or other[2] <= left or high <= other[1] or other[3] <= low
                for other in boxes[place + 1 :]
            )


def test_every_point_names_its_case_and_values(run):
    tips = {point.tip for panel in front_panels(run) for series in panel.series for point in series.points}
    assert "dgl, K=16: 12.5% of E2E's peak, step +50.0±0.0%, published error 13.80%" in tips
    tips = {point.tip for panel in split_panels(run) for series in panel.series for point in series.points}
    assert "dgl, K=4, balanced: 1.50 GiB, 18.8% of E2E" in tips


@pytest.fixture
def panels():
    series = (Series("greedy", (Point(2, 4.0, "2: 8%"), Point(4, 2.0)), 0), Series("dgl", (Point(4, 3.0),), 1, 1))
    panel = Panel(title="resnet110 on cifar10", series=series, front=(Point(2, 4), Point(4, 2)), level=8)
    return [panel] * 3


@pytest.mark.parametrize("chart", KINDS)
def test_a_chart_shows_every_series_in_its_colour_and_only_those(chart, panels, tmp_path):
    path = tmp_path / "chart.svg"
    draw_chart(chart, panels, path)
    text = path.read_text().lower()
    for colour in PALETTE:
        assert (colour.lower() in text) == (colour in PALETTE[:2])
    assert text.count("<!-- resnet110 on cifar10 -->") == 3
    assert text.count("<!-- greedy -->") == text.count("<!-- dgl -->") == 1


@pytest.mark.parametrize("chart", KINDS)
@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_chart_is_written_as_its_ending_says(chart, kind, magic, panels, tmp_path):
    path = tmp_path / f"chart.{kind}"
    draw_chart(chart, panels[:1], path)
    assert path.read_bytes().startswith(magic)


def test_a_chart_that_cannot_be_written_is_refused(panels, tmp_path):
    with pytest.raises(FigureError, match="the ending says the kind"):
        draw_chart(PEAKS, panels, tmp_path / "chart.xyz")
    with pytest.raises(FigureError, match="No such file or directory"):
        draw_chart(PEAKS, panels, tmp_path / "nowhere" / "chart.png")


def test_a_report_without_a_figure_names_those_that_have_one():
    with pytest.raises(ReportError, match="'overhead' has no figure; those that have: memory, holders, "):
        find_figure("overhead")
