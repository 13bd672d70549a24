import re
from pathlib import Path

import pytest
import torch

from bench.cases import make_case
from bench.probes.limits import Limits
from bench.suites import SuiteError, list_suites, load_suite
from bench.workloads.networks import NETWORKS, get_network


def test_a_case_is_canonical():
    case = make_case(method=" infopro ", network="resnet110@96", module_count=2, split="2.8", batch_size=128)
    assert (case.method, case.network, case.dataset, case.image_size) == ("infopro[softmax]", "resnet110", "stl10", 96)
    assert (case.split_policy, case.batch_size, case.precision, case.data) == ("28,27", 128, "float32", "synthetic")
    assert (
        make_case(method="infopro[softmax]", network="resnet110@96", module_count=2, split="28,27", batch_size=128)
        == case
    )


@pytest.mark.parametrize(
    ("network", "dataset", "expected"),
    [
        ("resnet32", None, ("cifar10", 32)),
        ("resnet32", "stl10", ("stl10", 96)),
        ("resnet32@96", None, ("stl10", 96)),
        ("resnet32@64", None, ("cifar10", 64)),
        ("resnet32@64", "svhn", ("svhn", 64)),
        ("cifar_resnet20", None, ("cifar10", 32)),
    ],
)
def test_dataset_and_image_size_follow_from_the_network_unless_given(network, dataset, expected):
    case = make_case(method="e2e", network=network, dataset=dataset)
    assert (case.dataset, case.image_size) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "infpro"}, "did you mean 'infopro'?"),
        ({"network": "resnet11"}, "unknown network 'resnet11': did you mean 'resnet110'?"),
        ({"network": "vgg"}, "there are resnet32, resnet110"),
        ({"network": "cifar_resnet18"}, "a CIFAR ResNet has depth 6n+2, not 18: try cifar_resnet14 or cifar_resnet20"),
        ({"network": "resnet32@big"}, "the image size behind @ is a whole number of pixels from 4"),
        ({"dataset": "cifar"}, "did you mean 'cifar10'?"),
        ({"batch_size": 0}, "the batch needs at least 2 images, for batch norm to normalise (batch: 0)"),
        ({"module_count": 17}, "too few units for the modules (units: 16, modules: 17)"),
        ({"module_count": 0}, "at least one module (modules: 0)"),
        ({"split": "8,9"}, "sizes 8,9 sum to 17, but the chain has 16 units"),
        ({"method": "e2e"}, "method 'e2e' trains the whole network as one module (modules: 2): use --modules 1"),
    ],
)
def test_a_case_that_cannot_be_says_what_to_change(changes, message):
    arguments = {"method": "dgl", "network": "resnet32", "module_count": 2} | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        make_case(**arguments)


def test_every_network_builds_the_units_it_lists():
    for name, network in NETWORKS.items():
        with torch.device("meta"):
            chain = network.build(network.dataset, network.image_size_on(network.dataset))
        assert chain.unit_names == network.unit_names, name
        assert get_network(name) is network


def test_shipped_suites_have_cases_that_can_be():
    suites = {suite.name: suite for suite in list_suites()}
    assert {"smoke", "cifar", "cifar_tables", "stl10", "imagenet", "cityscapes"} <= set(suites)
    for suite in suites.values():
        assert suite.title
        assert len(suite.simulated_cases()) == len(set(suite.simulated_cases())) > 0
        assert len(suite.measured_cases("cuda")) == len(suite.simulated_cases())
    for name in ("smoke", "cifar", "stl10"):
        assert len(suites[name].measured_cases("cpu")) == len(suites[name].simulated_cases())
    for name in ("imagenet", "cityscapes"):
        assert not suites[name].measured_cases("cpu")


def test_suites_of_large_networks_have_the_papers_batches_of_one_gpu():
    batches = {
        (case.network, case.height_and_width, case.batch_size)
        for name in ("imagenet", "cityscapes")
        for case in load_suite(name).simulated_cases()
    }
    assert batches == {
        *((name, (224, 224), 128) for name in ("resnet34", "resnet101", "resnet152")),
        ("resnext101_32x8d", (224, 224), 64),
        *(("deeplabv3_resnet101", (512, 1024), batch) for batch in (4, 6)),
        ("deeplabv3_resnet101", (640, 1280), 4),
    }


def test_a_suite_measures_at_its_own_batch_on_a_gpu_and_a_smaller_one_on_a_cpu():
    suite = load_suite("cifar")
    assert {case.batch_size for case in suite.simulated_cases()} == {1024}
    assert {case.batch_size for case in suite.measured_cases("cuda")} == {1024}
    assert max(case.batch_size for case in suite.measured_cases("cpu")) == 16


def test_a_suite_file_of_ones_own_is_read(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "mine"\n[[grid]]\nnetworks = ["resnet32"]\nmethods = ["dgl", "greedy"]\nmodules = [2, 4]\n'
        "batch_size = 128\n[timing]\nmaximum_pairs = 12\n"
    )
    suite = load_suite(str(path))
    assert suite.name == "mine"
    assert suite.limits == Limits(maximum_pairs=12)
    assert [(case.method, case.module_count) for case in suite.simulated_cases()] == [
        ("dgl", 2), ("dgl", 4), ("greedy", 2), ("greedy", 4),
    ]  # fmt: skip
    assert {case.batch_size for case in suite.measured_cases("cpu")} == {64}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "cannot read suite file"),
        ('title = "x"', "has no [[grid]]"),
        ("[[grid]]\nnetworks = ['resnet32']\n", "missing"),
        ('[[grid]]\nnetwork = ["resnet32"]\n', "unknown key 'network'; grid has networks, methods"),
        ("[timing]\nseconds = 1\n", "unknown key 'seconds'; limits has minimum_pairs"),
        (
            '[[grid]]\nnetworks=["resnet32"]\nmethods=["dgl"]\nmodules=[2]\nbatch_size=8\n[other]\n',
            "unknown keys other",
        ),
    ],
)
def test_a_suite_file_that_cannot_be_read_says_why(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=re.escape(message)):
        load_suite(str(path))


GRID = {"networks": '["resnet32"]', "methods": '["dgl"]', "modules": "[2]", "batch_size": "8"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", "'8'", "batch_size of grid is a whole number, not '8'"),
        ("batch_size", "8.0", "batch_size of grid is a whole number, not 8.0"),
        ("batch_size", "true", "batch_size of grid is a whole number, not True"),
        ("methods", "'dgl'", "methods of grid is a list of texts, not 'dgl'"),
        ("methods", "[1]", "methods of grid is a list of texts, not [1]"),
        ("methods", "[]", "methods of grid is a list of texts, not []"),
        ("modules", "[2.0]", "modules of grid is a list of whole numbers, not [2.0]"),
        ("split", "3", "split of grid is a text, not 3"),
        ("timed", "'no'", "timed of grid is true or false, not 'no'"),
    ],
)
def test_a_key_of_a_suite_file_has_to_be_of_its_kind(key, value, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[[grid]]\n" + "\n".join(f"{name} = {text}" for name, text in (GRID | {key: value}).items()))
    with pytest.raises(SuiteError, match=re.escape(message)):
        load_suite(str(path))


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ("maximum_seconds = nan", "maximum_seconds is a number from 0, not nan"),
        ("maximum_seconds = inf", "maximum_seconds is a number from 0, not inf"),
        ("minimum_seconds = -1", "minimum_seconds is a number from 0, not -1"),
        ("minimum_pairs = 0", "minimum_pairs is a number from 1, not 0"),
        ("maximum_pairs = '9'", "maximum_pairs of limits is a whole number, not '9'"),
    ],
)
def test_limits_that_would_never_begin_or_end_are_refused(timing, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(f"[timing]\n{timing}\n")
    with pytest.raises(SuiteError, match=re.escape(message)):
        load_suite(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifer", "did you mean 'cifar'?"),
        ("xyz", "there are cifar, cifar_tables, cityscapes"),
        ("no/such.toml", "cannot read suite file"),
    ],
)
def test_an_unknown_suite_says_what_there_is(name, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        load_suite(name)
