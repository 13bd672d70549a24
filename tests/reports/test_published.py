import csv
from importlib.resources import files
from itertools import product

import pytest

from reports.published import (
    BALANCED,
    DATASETS,
    EQUAL,
    NETWORKS,
    SOURCES,
    WHOLE,
    PublishedFigure,
    published,
    published_ratio,
    published_step_ratio,
)

METRICS = ("training_memory", "overhead_theoretical", "overhead_wall_time", "train_time_per_batch", "inference_time")
METHODS = [*WHOLE, *EQUAL]
CASES = list(product(DATASETS, NETWORKS, METHODS, (1, 2, 3, 4, 8, 16), ("equal", "balanced")))

with files("reports.published").joinpath("paper_numbers.csv").open(encoding="utf-8") as file:
    PRINTED = list(csv.DictReader(file))


def test_a_figure_comes_with_its_unit_paper_and_table():
    figure = published("training_memory", "cifar10", "resnet110", "checkpoint", 1)
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
    ],
)
def test_figures_of_the_equal_split_are_found_by_our_names(metric, dataset, network, method, count, value):
    assert published(metric, dataset, network, method, count).value == value


def test_a_starred_method_is_shown_for_the_balanced_split_only():
    place = ("training_memory", "cifar10", "resnet110", "infopro[contrast]", 4)
    assert published(*place, "balanced").value == 3.52
    assert published(*place, "equal") is None
    assert published(*place, "13,14,14,14") is None


def test_an_unstarred_method_is_not_shown_for_the_balanced_split():
    place = ("train_time_per_batch", "cifar10", "resnet32", "contsup[E]", 8)
    assert published(*place, "equal").value == 0.901
    assert published(*place, "balanced") is None


def test_a_network_in_one_module_has_its_figure_whatever_the_split_policy():
    for policy in ("equal", "balanced"):
        assert published("training_memory", "cifar10", "resnet110", "e2e", 1, policy).value == 9.4


@pytest.mark.parametrize("metric", METRICS)
def test_contsup_without_context_is_dgl(metric):
    for dataset, network, count in product(DATASETS, NETWORKS, (2, 4, 8, 16)):
        expected = published(metric, dataset, network, "dgl", count)
        assert published(metric, dataset, network, "contsup[R0]", count) == expected


def test_infopro_of_unstated_loss_stands_beside_both_losses():
    for loss in ("softmax", "contrast"):
        assert published("train_time_per_batch", "cifar10", "resnet32", f"infopro[{loss}]", 4).value == 0.917


@pytest.mark.parametrize(
    ("dataset", "network", "method"),
    [("imagenet", "resnet110", "e2e"), ("cifar10", "vgg11_bn", "e2e"), ("cifar10", "resnet110", "backlink[l=4]")],
)
def test_what_no_paper_names_has_no_figure(dataset, network, method):
    assert all(published(metric, dataset, network, method, 1) is None for metric in METRICS)


def test_a_ratio_is_taken_to_the_e2e_of_the_same_paper():
    # 9.40 is InfoPro's own E2E; MLAAN prints 9.26 for the same network.
    balanced = published_ratio("training_memory", "cifar10", "resnet110", "infopro[contrast]", 2, "balanced")
    assert balanced.value == pytest.approx(5.38 / 9.4)
    assert balanced.source == "InfoPro Table 3"
    inference = published_ratio("inference_time", "cifar10", "resnet110", "contsup[R1E]", 16)
    assert inference.value == pytest.approx(1.805 / 1.611)


def test_a_table_without_e2e_gives_no_ratio():
    assert published("training_memory", "cifar10", "resnet32", "contsup[E]", 8).value == 1.76
    assert published_ratio("training_memory", "cifar10", "resnet32", "contsup[E]", 8) is None


def test_a_step_ratio_comes_from_times_or_else_from_a_printed_overhead():
    assert published_step_ratio("cifar10", "resnet32", "dgl", 16).value == pytest.approx(0.829 / 0.721)
    assert published_step_ratio("cifar10", "resnet110", "checkpoint", 1).value == pytest.approx(1.275)
    assert published_step_ratio("cifar10", "resnet110", "dgl", 16) is None


def test_every_name_of_the_mapping_is_printed_somewhere():
    printed = {row["method"] for row in PRINTED}
    names = {name for table in (WHOLE, EQUAL, BALANCED) for names in table.values() for name in names}
    assert names <= printed
    assert set(DATASETS.values()) <= {row["dataset"] for row in PRINTED}
    assert set(NETWORKS.values()) <= {row["network"] for row in PRINTED}


def test_no_cell_is_printed_twice_by_one_paper():
    keys = ("paper", "table", "dataset", "network", "method", "K", "metric")
    shown = [
        tuple(row[key] for key in keys)
        for row in PRINTED
        if row["metric"] in METRICS and row["network"] in NETWORKS.values()
    ]
    assert len(shown) == len(set(shown))


def test_the_conditions_of_every_shown_source_are_known_and_none_is_idle():
    figures = [published(metric, *case) for metric in METRICS for case in CASES]
    assert {figure.source for figure in figures if figure} == set(SOURCES)
