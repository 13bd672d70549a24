"""What is refused as no training; each fault is planted into a network that trains."""

import itertools
import math

import pytest
import torch

from bench.cases import make_case
from bench.probes.validity import InvalidTrainingError, Watched, checksums
from bench.training import build_training
from methods.engine import StepResult

CPU = torch.device("cpu")


def watch(method="dgl", module_count=2, **options):
    case = make_case(
        method=method, network="cifar_resnet8@8", module_count=module_count, batch_size=4, **options
    )  # fmt: skip
    return Watched(build_training(case, CPU))


def plant(watched, training_step):
    watched.training.network.training_step = training_step
    return watched


def ever_lower():
    losses = itertools.count(3.0, -0.1)
    return lambda *_, **__: StepResult((torch.tensor(next(losses)),))


def refused(watched, step_count=2):
    for _ in range(step_count):
        watched.step()
    with pytest.raises(InvalidTrainingError) as error:
        watched.check()
    return str(error.value)


@pytest.mark.parametrize(
    ("method", "module_count"),
    [("e2e", 1), ("dgl", 2), ("infopro[contrast]", 3), ("contsup[R1E]", 2), ("dgl[step=per_module]", 2), ("dib", 2)],
)
def test_a_training_passes_and_its_steps_are_counted(method, module_count):
    watched = watch(method, module_count)
    for _ in range(3):
        watched.step_alone()
    watched.check()
    assert watched.steps_counted == watched.call_count == 3
    assert watched.last_losses != watched.first_losses
    assert watched.first_seconds > 0


def test_a_method_that_trains_nothing_is_refused_whatever_its_loss_says():
    message = refused(plant(watch(), ever_lower()))
    assert message == "not a training: no parameter changed (steps: 2)"


def test_a_local_module_that_is_not_trained_is_named():
    watched = watch(module_count=3)
    before = watched.training.network.training_step

    def without_second(images, labels):
        result = before(images, labels)
        for parameter in watched.training.network.module_parameters()[1]:
            parameter.grad = None
        return result

    assert "the parameters of local modules 2 of 3 did not change" in refused(plant(watched, without_second))


def test_a_local_loss_that_stands_still_is_refused_though_weight_decay_moves_the_module():
    watched = watch()
    watched.training.network.auxiliaries["0"].register_forward_hook(lambda *arguments: arguments[-1] * 0)
    assert refused(watched) == "not a training: the loss of local module 1 of 2 stood still at 0.0 (steps: 2)"


def test_parameters_that_a_loss_does_not_reach_are_counted():
    watched = watch()
    auxiliary = watched.training.network.auxiliaries["0"]
    auxiliary.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(), *inputs[1:]))
    watched.step_alone()
    watched.step_alone()
    watched.check()
    reached = {id(parameter) for parameter in auxiliary.parameters()}
    first = watched.training.network.module_parameters()[0]
    assert 0 < watched.count_untrained() == sum(id(parameter) not in reached for parameter in first)
    trained = watch()
    trained.step_alone()
    assert trained.count_untrained() == 0


def test_a_loss_that_stands_still_is_refused_with_its_value():
    message = refused(plant(watch(), lambda *_: StepResult((torch.tensor(2.5),))))
    assert "the loss stood still at 2.5" in message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_where_it_began(value):
    losses = iter([2.5, value])
    message = refused(plant(watch(), lambda *_: StepResult((torch.tensor(next(losses)),))))
    assert f"the loss is {value} (first: 2.5)" in message


def test_steps_without_updates_are_missed():
    watched = watch("e2e", 1)
    object.__setattr__(watched.training, "optimizers", (torch.optim.SGD([torch.zeros(1)]),))
    assert "0 of 2 steps updated parameters" in refused(watched)


def test_nothing_run_is_nothing_measured():
    assert "0 of 0 steps updated parameters" in refused(watch(), step_count=0)


def test_a_checksum_sees_every_parameter_and_where_it_is():
    training = build_training(make_case(method="e2e", network="cifar_resnet8@8", batch_size=4), CPU)
    before = checksums(training)
    assert checksums(training) == before
    first, second = [p for p in training.network.parameters() if p.dim() == 1][:2]
    with torch.no_grad():
        first[0] += 0.5
        second[0] -= 0.5
    (left,), (right,) = before, checksums(training)
    assert sum(a != b for a, b in zip(left, right, strict=True)) == 2
