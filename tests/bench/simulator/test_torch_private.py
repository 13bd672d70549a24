"""torch's private names that the simulator leans on still do what it believes.

A failure here means: this torch changed one of them. Mend `bench/simulator/torch_private.py`, then run `nox -s oracle`.
"""

import contextlib
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.simulator import torch_private as private


def test_views_share_a_storage_key_and_copies_do_not():
    tensor = torch.empty(4, device="meta")
    assert private.storage_key(tensor.view(2, 2)) == private.storage_key(tensor)
    assert private.storage_key(tensor.clone()) != private.storage_key(tensor)


def test_a_weak_reference_tells_when_the_last_tensor_on_a_storage_is_gone():
    told = []
    tensor = torch.empty(4, device="meta")
    view = tensor.view(2, 2)
    reference = weakref.ref(tensor.untyped_storage(), lambda _: told.append(1))
    del tensor
    gc.collect()
    assert told == []
    assert reference() is not None
    del view
    assert told == [1]


def test_a_graph_keeps_the_storages_it_saved():
    told = []
    x = torch.empty(4, device="meta", requires_grad=True)
    saved = x * 2
    loss = (saved * saved).sum()
    reference = weakref.ref(saved.untyped_storage(), lambda _: told.append(1))
    del saved
    assert told == []
    loss.backward()
    assert told == [1]
    assert reference() is None


class Numbers(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append((str(func), private.in_backward(), private.current_node_number()))
        return func(*args, **(kwargs or {}))


def test_nodes_of_a_backward_carry_the_numbers_of_their_forward():
    x = torch.empty(4, device="meta", requires_grad=True)
    first = private.next_node_number()
    y = x.exp()
    second = private.next_node_number()
    loss = (y * 2).sum()
    end = private.next_node_number()
    assert first < second < end
    with Numbers() as numbers:
        loss.backward()
        torch.empty(1, device="meta")
    inside = [(name, number) for name, backward, number in numbers.seen if backward and number is not None]
    assert [number for _, number in inside] == sorted((number for _, number in inside), reverse=True)
    assert inside[-1] == ("aten.mul.Tensor", first)
    assert numbers.seen[-1] == ("aten.empty.memory_format", False, None)


def test_schemas_say_what_is_changed_and_what_is_a_view():
    assert private.schema_of(torch.ops.aten.add_.Tensor).is_mutable
    assert not private.schema_of(torch.ops.aten.add.Tensor).is_mutable
    assert private.schema_of(torch.ops.aten.view.default).returns[0].alias_info is not None
    assert private.schema_of(torch.ops.aten.mm.default).returns[0].alias_info is None
    assert private.schema_of(torch.ops.aten._foreach_add_.List).name == "aten::_foreach_add_"
    assert private.packet_of(torch.ops.aten.mm.default) is torch.ops.aten.mm


def test_optimizers_and_clipping_can_be_told_to_choose_as_on_cuda():
    def operators(choose):
        weight = torch.nn.Parameter(torch.empty(4, device="meta"))
        weight.grad = torch.empty(4, device="meta")
        optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
        with choose, Numbers() as seen:
            torch.nn.utils.clip_grad_norm_([weight], 1.0)
            optimizer.step()
        return {name.split(".")[1] for name, *_ in seen.seen if "foreach" in name}

    assert operators(contextlib.nullcontext()) == set()
    assert {"_foreach_norm", "_foreach_mul_", "_foreach_add_"} <= operators(private.choose_as_cuda())


WITHOUT_COMPILER = """
import sys
import torch
from bench.cases import make_case
from bench.simulator.simulate import simulate_case

def readings(method):
    return simulate_case(make_case(method=method, network="cifar_resnet8", batch_size=4, precision="float16"))[0]

alone = readings("e2e")
assert not [name for name in sys.modules if name.startswith("torch._dynamo")], "the compiler was imported"
readings("checkpoint")  # asks for a setting of the compiler
assert readings("e2e") == alone
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], 0.5)
step = torch.compile(lambda: (weight * weight).sum(), backend="eager", fullgraph=True)
step().backward()
optimizer.step()
assert weight.tolist() == [0.0] * 3
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
"""


def test_a_simulation_leaves_the_compiler_out_and_whoever_needs_it_gets_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0


def test_a_dispatch_mode_is_not_wrapped_against_the_compiler():
    class Mode(private.EagerDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    assert not hasattr(Mode.__torch_dispatch__, "__wrapped__")
    assert hasattr(Numbers.__torch_dispatch__, "__wrapped__")
