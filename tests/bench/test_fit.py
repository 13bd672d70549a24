"""What fits into an amount of memory."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cases import make_case
from bench.fit import BATCH_STEP, MOST_IMAGES, Device, find_largest_batch, try_case, try_largest_batch
from bench.simulator.model import read_model
from bench.simulator.simulate import simulate_case

NETWORK = "cifar_resnet8"


@given(
    per_image=st.integers(1, 10**6),
    constant=st.integers(0, 10**9),
    rough=st.integers(0, 10**6),
    memory=st.integers(1, 10**11),
)
def test_the_next_batch_does_not_fit(per_image, constant, rough, memory):
    looked = []

    def need(batch):
        return constant + batch * per_image + hash(batch) % 7 * rough

    def fits(batch):
        looked.append(batch)
        return need(batch) <= memory

    found = find_largest_batch(fits, need, memory)
    assert found is None or found % BATCH_STEP == 0
    assert found is None or need(found) <= memory
    assert found == MOST_IMAGES or need((found or 0) + BATCH_STEP) > memory
    assert len(looked) <= 30


def test_even_growth_is_found_in_a_few_tries():
    looked = []

    def fits(batch):
        looked.append(batch)
        return 1000 + 7 * batch <= 100_000

    assert find_largest_batch(fits, lambda batch: 1000 + 7 * batch, 100_000) == 99_000 // 7 // BATCH_STEP * BATCH_STEP
    assert len(looked) <= 5


def _device(memory_bytes):
    return Device(profile="H200", workspace="none", allocator="", memory_bytes=memory_bytes)


def test_a_case_fits_into_the_least_memory_it_needs_and_into_no_less():
    case = make_case(method="dgl", network=NETWORK, module_count=2, batch_size=64)
    least = try_case(case, _device(2**40), lambda _phase: None).least_memory_bytes
    assert least is not None
    fits = [try_case(case, _device(least - less), lambda _phase: None).fits for less in (0, 1)]
    assert fits == [True, False]


def test_the_largest_batch_trains_and_the_next_runs_out_of_memory():
    memory = 2**28
    case = make_case(method="infopro[softmax]", network=NETWORK, module_count=2, batch_size=2)
    largest = try_largest_batch(case, _device(memory), lambda _phase: None)
    assert largest.fits
    model = read_model(limit_bytes=memory)
    for more, fails in ((0, False), (BATCH_STEP, True)):
        tried = make_case(
            method="infopro[softmax]", network=NETWORK, module_count=2, batch_size=largest.case.batch_size + more
        )
        assert (simulate_case(tried, model)[1].failure is not None) == fails


@pytest.fixture
def fit(peakbench):
    return partial(peakbench, "fit")


def test_methods_that_fit_come_first_and_then_those_that_add_least(fit):
    words = (NETWORK, "--memory", "1042MiB", "--method", "checkpoint", "--method", "dgl", "--modules", "2,4,99")
    code, shown, _ = fit(*words, "--json")
    answer = json.loads(shown)
    cases = answer["cases"]
    assert code == 0
    assert answer["memory_bytes"] == 530 * 2**20
    assert {(each["method"], each["module_count"]) for each in cases} == {
        ("e2e", 1), ("checkpoint", 1), ("dgl", 2), ("dgl", 4)
    }  # fmt: skip
    assert cases == sorted(cases, key=lambda each: (not each["fits"], each["training_flops_ratio"]))
    assert [each["fits"] for each in cases] == [each["least_memory_bytes"] <= 530 * 2**20 for each in cases]
    assert {each["fits"] for each in cases} == {True, False}


def test_nothing_that_fits_is_exit_code_1_and_80_columns_wide(fit):
    code, shown, _ = fit(NETWORK, "--memory", "520MiB", "--method", "infopro[softmax]", "--modules", "2")
    assert code == 1
    assert "infopro[softmax]" in shown
    assert "does not fit" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--memory", "500MiB"), "the context takes all the memory"),
        (("--memory", "much"), "cannot read 'much'"),
        (("--batch", "huge"), "--batch is a number of images or 'largest'"),
        (("--modules", "two"), "--modules are whole numbers"),
        (("--modules", "99"), "too few units for the modules"),
        (("--method", "nothing"), "unknown method"),
    ],
)
def test_a_mistake_gets_a_message_before_anything_runs(arguments, said, fit):
    code, _, words = fit(NETWORK, *arguments)
    assert code == 2
    assert said in words
