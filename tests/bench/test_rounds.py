"""Cases of methods in rounds: what the simulator and the timer say of all rounds together."""

import json
from itertools import pairwise

import pytest
import torch

from bench.cases import CaseError, make_case
from bench.probes.limits import Limits
from bench.simulator.least_memory import find_least_memory
from bench.simulator.model import read_model
from bench.simulator.simulate import join_rounds, simulate_case, simulate_rounds
from bench.training import build_training, count_rounds
from bench.worker import measure, simulate


def case_of(method, modules=3, **options):
    return make_case(method=method, network="cifar_resnet14", module_count=modules, batch_size=16, **options)


def test_stored_rounds_cost_together_what_a_simultaneous_step_costs():
    """Every module is trained once, and nothing else is done."""
    stored, _ = simulate_case(case_of("asy_infopro[contrast,cache=store]"))
    infopro, _ = simulate_case(case_of("infopro[contrast]"))
    assert stored.training_flops == infopro.training_flops
    assert stored.theoretical_overhead == infopro.theoretical_overhead
    assert stored.deployed_parameter_count == infopro.deployed_parameter_count
    assert stored.inference_flops == infopro.inference_flops


def test_recomputed_rounds_add_the_forwards_of_finished_modules():
    stored, recomputed = (simulate_rounds(case_of(f"asy_infopro[softmax,cache={c}]")) for c in ("store", "recompute"))
    forwards = [one.flops["unit"] for one in recomputed]
    added = [b.readings.training_flops - a.readings.training_flops for a, b in zip(stored, recomputed, strict=True)]
    assert added == [0, forwards[0], forwards[0] + forwards[1]]
    assert join_rounds(recomputed)[0].training_flops == sum(one.readings.training_flops for one in recomputed)


def test_all_networks_of_an_ensemble_are_paid_for_at_inference():
    rounds = simulate_rounds(case_of("dib"))
    readings, _ = join_rounds(rounds)
    # The last round runs the whole backbone: a voter costs its modules' forward and its classifier.
    forwards = [one.flops["unit"] + one.flops["earlier"] for one in rounds]
    heads = [one.flops["auxiliary"] + one.flops["head"] for one in rounds]
    assert readings.inference_flops == sum(forwards) + sum(heads)
    backbone = simulate_case(case_of("e2e", 1))[0].inference_flops
    assert readings.inference_flops > backbone
    assert simulate_case(case_of("boostresnet"))[0].inference_flops == backbone
    assert all(b.readings.training_flops > a.readings.training_flops for a, b in pairwise(rounds))


@pytest.mark.parametrize("method", ["asy_infopro[contrast]", "boostresnet", "dib"])
def test_peaks_are_the_highest_of_any_round_and_say_which(method):
    rounds = simulate_rounds(case_of(method))
    readings, simulation = join_rounds(rounds)
    allocated = [one.readings.peak_allocated_bytes for one in rounds]
    worst = allocated.index(max(allocated)) + 1
    assert readings.peak_allocated_bytes == max(allocated)
    assert readings.peak_reserved_bytes == max(one.readings.peak_reserved_bytes for one in rounds)
    assert readings.peak_phase.startswith(f"round {worst}, ")
    assert simulation.holders().total() == readings.peak_allocated_bytes


def test_a_round_that_runs_out_of_memory_is_named():
    case = case_of("dib")
    rounds = simulate_rounds(case)
    limit = max(one.readings.peak_reserved_bytes for one in rounds[:-1])
    readings, simulation = simulate_case(case, read_model(limit_bytes=limit))
    assert simulation.failure.startswith("round 3, ")
    assert readings.peak_allocated_bytes is None
    assert readings.first_step_peak_allocated_bytes is None


def test_one_module_is_one_round_like_any_other_method():
    case = case_of("asy_infopro", 1)
    assert count_rounds(case) == 1
    found, e2e = simulate_case(case)[0], simulate_case(case_of("e2e", 1))[0]
    assert found.peak_phase == e2e.peak_phase
    assert found.peak_allocated_bytes == e2e.peak_allocated_bytes


def test_the_command_shows_every_round(peakbench):
    asked = ["simulate", "boostresnet", "--network", "cifar_resnet14", "--modules", "3", "--batch", "16"]
    text = peakbench(*asked).stdout
    assert "those of one step of every round" in text
    assert "adam" in text
    found = json.loads(peakbench(*asked, "--json").stdout)
    assert len(found["rounds"]) == 3
    assert sum(one["training_flops"] for one in found["rounds"]) == found["training_flops"]


@pytest.mark.parametrize("method", ["asy_infopro[softmax,cache=store]", "boostresnet", "dib"])
def test_a_measurement_takes_one_step_of_every_round(method):
    limits = Limits(minimum_pairs=4, maximum_pairs=4, maximum_seconds=0.3)
    readings = measure(case_of(method), "cpu", limits, None, lambda phase: None)
    assert len(readings.step_seconds) >= 4
    assert readings.last_loss < readings.first_loss


def test_boostresnet_steps_by_adam_with_clamped_gradients():
    case = case_of("boostresnet")
    assert case.optimizer == "adam"
    training = build_training(case, torch.device("cpu"), training_round=1)
    assert isinstance(training.optimizers[0], torch.optim.Adam)
    training.step()
    largest = max(p.grad.abs().max().item() for p in training.network.round_parameters())
    assert largest == pytest.approx(0.1), "the exponential loss makes gradients that reach the bound"
    assert case_of("boostresnet", optimizer="sgd").optimizer == "sgd"


@pytest.mark.parametrize("method", ["dib", "greedy_plus"])
def test_balanced_boundaries_are_the_best_of_those_simulated(method):
    balanced, equal = (simulate_case(case_of(method, split=split))[0] for split in ("balanced", "equal"))
    assert balanced.peak_allocated_bytes <= equal.peak_allocated_bytes
    assert len(balanced.split_sizes) == len(equal.split_sizes)


def test_least_memory_is_that_of_the_round_that_needs_most():
    case = case_of("dib")
    settings = read_model().settings
    each = [find_least_memory(one.simulation.stream, settings) for one in simulate_rounds(case)]
    assert simulate(case, lambda phase: None).least_memory_bytes == max(each)
    assert min(each) < max(each)


def test_stored_features_replace_loading():
    with pytest.raises(CaseError, match="use synthetic data, or cache=recompute"):
        case_of("asy_infopro[softmax,cache=store]", data="loader")
