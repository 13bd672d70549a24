"""Figures are checked by what is drawn, and by the files they leave."""

import pytest

from reports.figures import COLOURS, FigureError, Timeline, draw_timeline


def timeline(**changes):
    values = {
        "title": "dgl, resnet32",
        "categories": {"parameters": [2**28] * 4, "activations": [0, 2**30, 2**29, 0], "gradients": [0] * 4},
        "reserved": [2**31] * 4,
        "peak": 1,
        "peak_words": "backward of unit layer1.4 in local module 1",
    }
    return Timeline(**(values | changes))


def test_a_timeline_names_its_peak_and_shows_only_what_is_there(tmp_path):
    path = tmp_path / "step.svg"
    draw_timeline(timeline(), path)
    text = path.read_text()
    assert COLOURS["parameters"].lower() in text
    assert COLOURS["activations"].lower() in text
    assert COLOURS["gradients"].lower() not in text


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_decides_the_kind_of_file(tmp_path, kind, magic):
    path = tmp_path / f"step.{kind}"
    draw_timeline(timeline(peak=3), path)
    assert path.read_bytes().startswith(magic)


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(FigureError, match=r"the ending says the kind, such as .png"):
        draw_timeline(timeline(), tmp_path / "step.xyz")
