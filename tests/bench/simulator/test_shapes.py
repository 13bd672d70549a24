"""What operators return without data is remembered for a whole process; nobody can tell."""

import gc

import pytest
import torch

from bench.cases import make_case
from bench.simulator import shapes
from bench.simulator.operators import lay_out
from bench.simulator.simulate import simulate_case
from bench.simulator.torch_private import storage_key

aten = torch.ops.aten


@pytest.fixture
def runs(monkeypatch):
    """Operators that really ran, from an empty memory on."""
    seen, run = [], shapes.run_bare
    monkeypatch.setattr(shapes, "_operators", {})
    monkeypatch.setattr(shapes, "run_bare", lambda func, args, kwargs: (seen.append(func), run(func, args, kwargs))[1])
    return seen


def facts(tensor):
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.untyped_storage().nbytes()


def test_a_remembered_result_is_like_the_first_and_has_a_storage_of_its_own(runs):
    images = torch.empty(2, 3, 8, 8, device="meta").to(memory_format=torch.channels_last)
    weight = torch.empty(4, 3, 3, 3, device="meta")
    words = (images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    func = aten.convolution.default
    first, second = (shapes.call(func, words, {}) for _ in range(2))
    assert runs == [func]
    assert facts(first) == facts(second) == facts(lay_out(func, words, func(*words)))
    assert storage_key(first) != storage_key(second)


def test_one_and_true_and_another_default_type_are_other_signatures(runs):
    meta = {"device": torch.device("meta")}
    kinds = [shapes.call(aten.full.default, ([2], value), meta).dtype for value in (1, 1.0, True)]
    assert kinds == [torch.int64, torch.float32, torch.bool]
    torch.set_default_dtype(torch.float64)
    try:
        assert shapes.call(aten.full.default, ([2], 1.0), meta).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(runs) == 4


def test_views_and_operators_of_others_always_run(runs):
    library = torch.library.Library("peakbench_test", "DEF")
    try:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", torch.empty_like, "Meta")
        theirs = torch.ops.peakbench_test.twice.default
        x = torch.empty(4, device="meta")
        for func, args in ((theirs, (x,)), (aten.view.default, (x, [2, 2]))):
            runs.clear()
            found = [shapes.call(func, args, {}) for _ in range(2)]
            assert runs == [func, func]
        assert storage_key(found[0]) == storage_key(found[1]) == storage_key(x)
    finally:
        library._destroy()


def test_a_full_memory_is_emptied(runs, monkeypatch):
    monkeypatch.setattr(shapes, "_MOST", 3)
    for size in range(1, 9):
        shapes.call(aten.zeros.default, ([size],), {"device": torch.device("meta")})
        assert sum(len(one.recipes) for one in shapes._operators.values()) <= 3


def test_a_simulation_leaves_the_collector_as_it_was():
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=2)
    simulate_case(case)
    assert gc.isenabled()
    gc.disable()
    try:
        simulate_case(case)
        assert not gc.isenabled()
    finally:
        gc.enable()
