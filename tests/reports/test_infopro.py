import csv
from io import StringIO

import pytest

from reports.comparison import ReportError
from reports.infopro import imagenet, segmentation
from reports.render import render


def test_imagenet_is_infopros_table_4(imagenet_rows):
    (table,) = imagenet(imagenet_rows)
    assert render([table], "markdown").splitlines()[2:8] == [
        (
            "| Network | Method | K | Split | batch | peak GiB | saved | paper GB | paper saved | extra FLOPs "
            "| paper | paper step time | paper top-1 | paper top-5 |"
        ),
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| resnet101 | e2e | 1 |  | 128 | 16.00 | 0.0% | 19.71 | 0.0% | - | - | - | 22.03 | 5.93 |",
        (
            "| resnet101 | infopro[softmax] | 2 | 7,27 | 128 | 9.00 | 43.8% | 12.06 | 38.8% | - | +5.7% | +11.7% "
            "| 21.85 | 5.89 |"
        ),
        (
            "| resnet101 | mlaan[c=3] | 33 | merge_stem | 128 | 14.00 | 12.5% | 17.93 | 13.1% | - | - | - | 21.69 "
            "| 5.72 |"
        ),
        "| resnext101_32x8d | e2e | 1 |  | 64 | out of memory | - | 19.22 | 0.0% | - | - | - | 20.64 | 5.40 |",
    ]
    assert "resnext101_32x8d: e2e K=1 (simulated): out of memory" in table.notes


def test_imagenet_gives_every_source_with_its_conditions(imagenet_rows):
    (table,) = imagenet(imagenet_rows)
    (note,) = (note for note in table.notes if note.startswith("Paper:"))
    assert all(source in note for source in ("InfoPro Table 4 (batch 128", "MLAAN Table 2", "MLAAN Table 3"))


def test_segmentation_is_infopros_table_5_with_one_reference_for_all_batches_and_crops(cityscapes_rows):
    (table,) = segmentation(cityscapes_rows)
    method, count, batch, crop = (column.cells for column in table.labels)
    peak, saved, printed, printed_saved = (column.cells for group in table.groups[:2] for column in group)
    assert list(zip(method, batch, crop, peak, saved, printed, printed_saved, strict=True)) == [
        ("e2e", "4", "512x1024", "16.00", "0.0%", "19.43", "0.0%"),
        ("infopro[softmax]", "4", "512x1024", "10.00", "37.5%", "12.01", "38.2%"),
        ("infopro[softmax,weights=1/0.1]", "6", "512x1024", "14.00", "12.5%", "16.62", "14.5%"),
        ("infopro[softmax]", "4", "640x1280", "15.00", "6.2%", "17.00", "12.5%"),
    ]
    assert count == ("1", "2", "2", "2")
    assert [column.cells[2] for column in table.groups[-1]] == ["79.99", "81.09", "81.20"]


def test_step_times_stand_beside_the_published_where_they_were_measured(imagenet_rows, measured):
    pairs = {"step_seconds": (1.1,) * 3, "reference_step_seconds": (1.0,) * 3}
    place = {"dataset": "imagenet", "image_size": 224, "network": "resnet101", "split_policy": "7,27"}
    (table, _) = imagenet([*imagenet_rows, measured("infopro[softmax]", 2, **pairs, **place)])
    assert [column.cells[1] for column in table.groups[3]] == ["+10.0±0.0%", "+11.7%"]


@pytest.mark.parametrize(("build", "name"), [(imagenet, "imagenet"), (segmentation, "cityscapes")])
def test_a_run_on_other_images_is_refused_with_the_suite_to_run(build, name, simulated):
    with pytest.raises(ReportError, match=f"no case of this run is on {name}; peakbench run {name}"):
        build([simulated("e2e", gib=4)])


def test_published_errors_and_scores_are_in_csv_too(imagenet_rows, cityscapes_rows):
    rows = {}
    for report, measurements in ((imagenet, imagenet_rows), (segmentation, cityscapes_rows)):
        text = render(report(measurements), "csv")
        rows |= {(row["network"], row["method"], row["image_size"]): row for row in csv.DictReader(StringIO(text))}
    row = rows["resnet101", "e2e", "224"]
    assert (row["published_top5_error"], row["published_top5_error_source"]) == ("5.93", "InfoPro Table 4")
    row = rows["deeplabv3_resnet101", "infopro[softmax]", "640"]
    assert [row[f"published_miou_{name}"] for name in ("one_scale", "several_scales", "flipped", "source")] == [
        "80.25", "81.33", "81.42", "InfoPro Table 5",
    ]  # fmt: skip
