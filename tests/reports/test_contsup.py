import pytest

from reports.comparison import ReportError
from reports.contsup import table10, table12


def lines(table):
    """First label of a line -> its other cells, with the lines of a name numbered by order."""
    columns = [*table.labels[1:], *(column for group in table.groups for column in group)]
    cells = list(zip(*(column.cells for column in columns), strict=True))
    return list(zip(table.labels[0].cells, cells, strict=True))


def headers(table):
    return [column.header for group in table.groups for column in group]


@pytest.fixture
def inference(simulated, measured):
    """Rows of a deployed network: twice the parameters where the method keeps context."""

    def make(method, count=1, seconds=0.1, **options):
        keeps = method.startswith("contsup") and method != "contsup[R0]"
        counts = {"deployed_parameter_count": 2000 if keeps else 1000, "inference_flops": 1100 if keeps else 1000}
        times = {"inference_seconds": (seconds,) * 4, "reference_inference_seconds": (0.1,) * 4}
        return [simulated(method, count, gib=1, **counts, **options), measured(method, count, **times, **options)]

    return make


def test_table10_has_backbone_increase_published_increase_and_flops(inference):
    rows = [*inference("e2e"), *inference("contsup[E]", 16, 0.107), *inference("contsup[R1E]", 16, 0.115)]
    (table,) = table10(rows)
    assert headers(table) == ["K=16\nE", "K=16\nR1E"]
    assert lines(table) == [
        ("resnet110, ms", ("100.0", "107.0", "115.0")),
        ("  increase, %", ("", "+7.0", "+15.0")),
        ("  paper, %", ("", "+7.7", "+12.0")),  # 1.735 and 1.805 s over 1.611 s
        ("  FLOPs, %", ("", "+10.0", "+10.0")),
    ]


def test_table10_leaves_out_methods_that_deploy_the_backbone_alone(inference):
    rows = [*inference("e2e"), *inference("dgl", 2), *inference("contsup[R0]", 2), *inference("contsup[E]", 2)]
    assert headers(table10(rows)[0]) == ["K=2\nE"]


def test_table10_puts_networks_below_each_other_and_datasets_apart(inference):
    rows = []
    for network, dataset in (("resnet110", "cifar10"), ("resnet32", "cifar10"), ("resnet110", "svhn")):
        place = {"network": network, "dataset": dataset}
        rows += [*inference("e2e", **place), *inference("contsup[E]", 2, **place)]
    first, second = table10(rows)
    assert [label for label, _ in lines(first) if not label.startswith(" ")] == ["resnet32, ms", "resnet110, ms"]
    assert [label for label, _ in lines(second)] == ["resnet110, ms", "  increase, %", "  FLOPs, %"]
    assert "Paper: no published figure of these cases." in second.notes


def test_table10_keeps_the_columns_of_a_k_together(suite_tables):
    table = suite_tables["table10"][0]
    assert [[column.header for column in group] for group in table.groups] == [
        [f"K={count}\n{variant}" for variant in ("E", "R1", "R1E")] for count in (2, 4, 8, 16)
    ]


def test_table10_serves_any_method_that_keeps_context(simulated):
    rows = [simulated("e2e", deployed_parameter_count=10), simulated("mine[x=1]", 2, deployed_parameter_count=11)]
    assert headers(table10(rows)[0]) == ["K=2\nmine[x=1]"]


def test_table10_says_how_sure_its_increases_are(measured):
    pairs = {"reference_inference_seconds": (0.1,) * 3}
    rows = [
        measured("e2e", deployed_parameter_count=10),
        measured("contsup[E]", 2, deployed_parameter_count=11, inference_seconds=(0.1, 0.11, 0.12), **pairs),
    ]
    assert "Half of a 95% interval of increase is at most 10.0 points." in table10(rows)[0].notes[0]


@pytest.mark.parametrize("methods", [["e2e", "dgl"], ["contsup[E]"]])
def test_table10_without_context_or_without_e2e_is_refused(inference, methods):
    rows = [row for method in methods for row in inference(method)]
    with pytest.raises(ReportError, match="no case of this run deploys more parameters than its e2e row"):
        table10(rows)


@pytest.fixture
def step(measured):
    """A timed row of ResNet-32; E2E takes half a second."""

    def make(method, count=1, seconds=0.5, **options):
        times = {"step_seconds": (seconds,) * 4, "reference_step_seconds": (0.5,) * 4}
        return measured(method, count, network="resnet32", **times, **options)

    return make


def test_table12_has_methods_down_and_k_across(step):
    (table,) = table12([step("e2e"), step("dgl", 2, 0.51), step("dgl", 16, 0.6), step("greedy", 16, 0.55)])
    assert headers(table) == ["K=1", "K=2", "K=16"]
    assert lines(table) == [
        ("e2e", ("500.0", "", "")),
        ("  x E2E", ("1.000±0.000", "", "")),
        ("  paper", ("1.000", "", "")),
        ("greedy", ("", "", "550.0")),
        ("  x E2E", ("", "", "1.100±0.000")),
        ("dgl", ("", "510.0", "600.0")),
        ("  x E2E", ("", "1.020±0.000", "1.200±0.000")),
        ("  paper", ("", "1.008", "1.150")),  # 0.727 and 0.829 s over 0.721 s
    ]


def test_table12_says_why_a_time_is_missing(step):
    (table,) = table12([step("e2e"), step("dgl", 2, status="timeout", phase="training step")])
    assert ("dgl", ("", "timeout")) in lines(table)
    assert "dgl K=2 (measured): timeout in training step" in table.notes


def test_table12_names_the_split_where_splits_differ(step):
    (table,) = table12([step("dgl", 2), step("dgl", 2, split_policy="7,9")])
    assert [label for label, _ in lines(table) if label.startswith("dgl")] == ["dgl equal", "dgl 7,9"]


def test_table12_needs_step_times(simulated):
    with pytest.raises(ReportError, match="this run holds no step times"):
        table12([simulated("e2e", gib=8)])
