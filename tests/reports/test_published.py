import csv
from importlib.resources import files
from itertools import product
from typing import get_args

import pytest

from reports.published import (
    BALANCED,
    DATASETS,
    EQUAL,
    NETWORKS,
    SETTINGS,
    SOURCES,
    WHOLE,
    Metric,
    Place,
    PublishedFigure,
    published,
    published_ratio,
    published_step_ratio,
)

METRICS = get_args(Metric)
METHODS = [*WHOLE, *EQUAL, *(name for names in SETTINGS.values() for name in names)]
COUNTS = (1, 2, 3, 4, 8, 15, 16, 32, 33, 50, 54, 55)
CROPS = {"cityscapes": ("batch 8; crop 512x1024", "batch 12; crop 512x1024", "batch 8; crop 640x1280")}


def look_up(metric, dataset, network, method, count=1, policy="equal", conditions="", find=published):
    """The figure of a case."""
    place = Place(
        dataset=dataset,
        network=network,
        method=method,
        module_count=count,
        split_policy=policy,
        conditions=conditions,
    )
    return find(metric, place)


with files("reports.published").joinpath("paper_numbers.csv").open(encoding="utf-8") as file:
    PRINTED = list(csv.DictReader(file))


def test_a_figure_comes_with_its_unit_paper_and_table():
    figure = look_up("training_memory", "cifar10", "resnet110", "checkpoint", 1)
    assert figure == PublishedFigure(3.91, "GB", "InfoPro", "Table 3")
    assert figure.source == "InfoPro Table 3"


@pytest.mark.parametrize(
    ("metric", "dataset", "network", "method", "count", "value"),
    [
        ("training_memory", "cifar10", "resnet110", "e2e", 1, 9.4),
        ("training_memory", "cifar10", "resnet32", "e2e", 1, 3.37),
        ("training_memory", "stl10", "resnet110", "e2e", 1, 10.77),
        ("training_memory", "cifar10", "resnet32", "dgl", 8, 1.54),
        ("training_memory", "cifar10", "resnet32", "contsup[R1]", 16, 1.72),
        ("train_time_per_batch", "cifar10", "resnet32", "contsup[R1E]", 16, 1.227),
        ("inference_time", "cifar10", "resnet110", "contsup[E]", 8, 1.657),
        ("overhead_theoretical", "cifar10", "resnet110", "checkpoint", 1, 32.8),
        ("train_time_per_batch", "cifar10", "resnet32", "backlink[4]", 2, 0.817),
        ("train_time_per_batch", "cifar10", "resnet32", "backlink[2]", 16, 1.099),
        ("test_error", "cifar10", "resnet32", "backlink[4]", 2, 6.97),
        ("test_error", "cifar10", "resnet32", "contsup[E]+backlink[4]", 4, 7.18),
        ("test_error", "cifar10", "resnet110", "greedy_plus", 8, 14.58),
        ("test_error", "cifar10", "resnet110", "asy_infopro[contrast]", 4, 8.39),
        ("test_error", "cifar10", "resnet32", "contsup[M1R1E]", 16, 9.71),
        ("test_error", "cifar10", "resnet32", "dgl+mlm", 16, 8.46),
        ("test_error", "stl10", "resnet110", "infopro[softmax]+mlaan", 32, 19.51),
        ("test_error", "imagenet", "resnet101", "e2e", 1, 22.03),
        ("training_memory", "cifar10", "resnet32", "contsup[R16]", 16, 6.02),
        ("training_memory", "imagenet", "resnet34", "e2e", 1, 10.74),
        ("training_memory", "imagenet", "resnet152", "e2e", 1, 26.29),
    ],
)
def test_figures_of_the_equal_split_are_found_by_our_names(metric, dataset, network, method, count, value):
    assert look_up(metric, dataset, network, method, count).value == value


def test_a_starred_method_is_shown_for_the_balanced_split_only():
    place = ("training_memory", "cifar10", "resnet110", "infopro[contrast]", 4)
    assert look_up(*place, "balanced").value == 3.52
    assert look_up(*place, "equal") is None
    assert look_up(*place, "13,14,14,14") is None


def test_an_unstarred_method_is_not_shown_for_the_balanced_split():
    place = ("train_time_per_batch", "cifar10", "resnet32", "contsup[E]", 8)
    assert look_up(*place, "equal").value == 0.901
    assert look_up(*place, "balanced") is None


def test_a_network_in_one_module_has_its_figure_whatever_the_split_policy():
    for policy in ("equal", "balanced"):
        assert look_up("training_memory", "cifar10", "resnet110", "e2e", 1, policy).value == 9.4


@pytest.mark.parametrize("metric", METRICS)
def test_contsup_without_context_is_dgl(metric):
    for dataset, network, count in product(("cifar10", "svhn", "stl10"), ("resnet32", "resnet110"), (2, 4, 8, 16)):
        expected = look_up(metric, dataset, network, "dgl", count)
        assert look_up(metric, dataset, network, "contsup[R0]", count) == expected


def test_infopro_of_unstated_loss_stands_beside_both_losses():
    for loss in ("softmax", "contrast"):
        assert look_up("train_time_per_batch", "cifar10", "resnet32", f"infopro[{loss}]", 4).value == 0.917


@pytest.mark.parametrize(
    ("dataset", "network", "method"),
    [("imagenet", "resnet110", "e2e"), ("svhn", "vgg11_bn", "e2e"), ("cifar10", "resnet110", "backlink[3]")],
)
def test_what_no_paper_names_has_no_figure(dataset, network, method):
    assert all(look_up(metric, dataset, network, method, 1) is None for metric in METRICS)


def test_a_ratio_is_taken_to_the_e2e_of_the_same_paper():
    # 9.40 is InfoPro's own E2E; MLAAN prints 9.26 for the same network.
    balanced = look_up(
        "training_memory", "cifar10", "resnet110", "infopro[contrast]", 2, "balanced", find=published_ratio
    )
    assert balanced.value == pytest.approx(5.38 / 9.4)
    assert balanced.source == "InfoPro Table 3"
    inference = look_up("inference_time", "cifar10", "resnet110", "contsup[R1E]", 16, find=published_ratio)
    assert inference.value == pytest.approx(1.805 / 1.611)


def test_a_table_without_e2e_gives_no_ratio():
    assert look_up("training_memory", "cifar10", "resnet32", "contsup[E]", 8).value == 1.76
    assert look_up("training_memory", "cifar10", "resnet32", "contsup[E]", 8, find=published_ratio) is None


def test_a_step_ratio_comes_from_times_or_else_from_a_printed_overhead():
    assert published_step_ratio(
        Place(dataset="cifar10", network="resnet32", method="dgl", module_count=16)
    ).value == pytest.approx(0.829 / 0.721)
    assert published_step_ratio(
        Place(dataset="cifar10", network="resnet110", method="checkpoint", module_count=1)
    ).value == pytest.approx(1.275)
    assert published_step_ratio(Place(dataset="cifar10", network="resnet110", method="dgl", module_count=16)) is None


def test_mlaan_prints_one_module_more_than_its_code_has():
    memory = ("training_memory", "cifar10", "resnet110", "mlaan")
    assert look_up(*memory, 54, "merge_stem").value == 2.76
    assert look_up(*memory, 55, "merge_stem") is None
    assert look_up(*memory, 54, "merge_stem", find=published_ratio).value == pytest.approx(2.76 / 9.26)
    # The K of other papers are those of their code.
    assert look_up("training_memory", "cifar10", "resnet32", "dgl", 15, "merge_stem") is None


def test_windows_of_three_are_mlaans_setting_on_imagenet():
    memory = ("training_memory", "imagenet", "resnet34")
    assert look_up(*memory, "mlaan[c=3]", 16, "merge_stem").value == 9.09
    assert look_up(*memory, "mlaan", 16, "merge_stem") is None


@pytest.mark.parametrize("policy", ["balanced", "7,27"])
def test_any_boundary_stands_beside_a_figure_whose_boundary_is_not_printed(policy):
    assert look_up("training_memory", "imagenet", "resnet101", "infopro[softmax]", 2, policy).value == 12.06
    assert look_up("training_memory", "imagenet", "resnet101", "infopro[softmax]", 3, policy) is None


@pytest.mark.parametrize(
    ("conditions", "method", "memory", "score"),
    [
        ("batch 8; crop 512x1024", "e2e", 19.43, 79.12),
        ("batch 8; crop 512x1024", "infopro[softmax]", 12.01, 79.37),
        ("batch 8; crop 640x1280", "infopro[softmax]", 17.0, 80.25),
        ("batch 12; crop 512x1024", "infopro[softmax,weights=1/0.1]", 16.62, 79.99),
    ],
)
def test_crop_and_batch_tell_the_rows_of_cityscapes_apart(conditions, method, memory, score):
    place = ("cityscapes", "deeplabv3_resnet101", method, 1 if method == "e2e" else 2, "20,14", conditions)
    assert look_up("training_memory", *place).value == memory
    assert look_up("mIoU_SS", *place).value == score


def test_of_a_row_that_a_paper_copies_the_original_is_shown():
    assert look_up("test_error", "cifar10", "resnet110", "dgl", 2).source == "InfoPro Table 2"
    place = Place(dataset="cifar10", network="resnet110", method="dgl", module_count=2)
    assert published("test_error", place, "ContSup Table 3").source == "ContSup Table 3"
    assert published("test_error", place, "ContSup Table 1") is None


def test_every_name_of_the_mapping_is_printed_somewhere():
    printed = {row["method"] for row in PRINTED}
    names = {name for table in (WHOLE, EQUAL, BALANCED) for names in table.values() for name in names}
    assert names <= printed
    assert set(DATASETS.values()) <= {row["dataset"] for row in PRINTED}
    assert set(NETWORKS.values()) <= {row["network"] for row in PRINTED}


def test_no_cell_is_printed_twice_by_one_paper():
    keys = ("paper", "table", "dataset", "network", "method", "K", "metric", "notes")
    shown = [
        tuple(row[key] for key in keys)
        for row in PRINTED
        if row["metric"] in METRICS and row["network"] in NETWORKS.values()
    ]
    assert len(shown) == len(set(shown))


def test_the_conditions_of_every_shown_source_are_known_and_none_is_idle():
    networks = {(row["dataset"], row["network"]) for row in PRINTED}
    figures = [
        look_up(metric, dataset, network, *case, crop)
        for dataset, network in product(DATASETS, NETWORKS)
        if (DATASETS[dataset], NETWORKS[network]) in networks
        for metric, *case in product(METRICS, METHODS, COUNTS, ("equal", "balanced", "merge_stem", "7,9"))
        for crop in CROPS.get(dataset, ("",))
    ]
    assert {figure.source for figure in figures if figure} == set(SOURCES)


def test_the_released_boundaries_are_those_of_the_printed_figures():
    memory = ("training_memory", "cifar10", "resnet110", "mlaan")
    assert look_up(*memory, 54, "released") == look_up(*memory, 54, "merge_stem")
    error = ("test_error", "cifar10", "resnet110", "infopro[contrast]")
    assert look_up(*error, 4, "released") == look_up(*error, 4, "equal")
    assert look_up(*error, 4, "released") is not None
