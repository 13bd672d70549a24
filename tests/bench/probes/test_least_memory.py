"""The bisection against answers that are known, those of the allocator simulator and non-monotone ones included."""

import pytest

from bench.cases import make_case
from bench.isolate import Outcome
from bench.least_memory import Trial, measure_least_memory
from bench.passes.shared import ProcessMemory
from bench.probes.least_memory import find_least_limit
from bench.simulator.allocator import MIB, parse_settings
from bench.simulator.least_memory import find_least_memory
from bench.simulator.ledger import find_peak, replay
from bench.simulator.simulate import simulate_case
from results.record import Readings

STEP = 2 * MIB
MOST = 2**34


class Tried(list):
    """A rule for limits that notes what it is asked."""

    def __init__(self, rule):
        self.rule = rule

    def __call__(self, limit):
        self.append(limit // STEP)
        return self.rule(limit // STEP)


def search(rule, floor, ceiling, guess=None, most=MOST // STEP):
    tried = Tried(rule)
    found = find_least_limit(
        tried, floor_bytes=floor * STEP, ceiling_bytes=ceiling * STEP, most_bytes=most * STEP,
        guess_bytes=None if guess is None else guess * STEP,
    )  # fmt: skip
    return None if found is None else found // STEP, tried


@pytest.mark.parametrize("answer", range(10, 31))
@pytest.mark.parametrize("guess", [None, 10, 17, 30, 60])
def test_the_answer_is_found_whatever_is_guessed(answer, guess):
    found, tried = search(lambda limit: limit >= answer, 10, 30, guess)
    assert found == answer
    assert tried.count(answer - 1) == 2
    assert len(tried) <= 12


def test_a_right_guess_takes_three_tries():
    assert search(lambda limit: limit >= 17, 10, 30, 17)[1] == [17, 16, 16]


@pytest.mark.parametrize("answer", [1, 5, 9, 31, 45, 200])
def test_a_bracket_that_is_wrong_is_widened(answer):
    assert search(lambda limit: limit >= answer, 10, 30)[0] == answer


def test_what_fails_on_the_whole_device_has_no_answer():
    assert search(lambda _: False, 10, 30, guess=12, most=100)[0] is None


def test_an_island_that_runs_below_the_answer_is_taken_where_it_is_met():
    """16 fails, 14 and 15 run: the answer lies beside a limit that fails."""
    found, _ = search(lambda limit: limit in (14, 15) or limit >= 17, 10, 30, guess=15)
    assert found == 14


def test_a_limit_that_fails_only_sometimes_is_tried_again():
    answers = iter([False, True])
    found, tried = search(lambda limit: next(answers) if limit == 16 else limit > 16, 10, 30, 17)
    assert found == 16
    assert tried[:3] == [17, 16, 16]
    assert tried.count(15) == 2


@pytest.mark.parametrize("allocator", ["", "max_split_size_mb:20", "roundup_power2_divisions:4"])
@pytest.mark.parametrize(("method", "module_count"), [("e2e", 1), ("contsup[R1E]", 4), ("infopro[contrast]", 2)])
def test_a_simulated_training_has_its_exact_answer_by_its_guess_and_a_local_one_without(
    method, module_count, allocator
):
    case = make_case(method=method, network="cifar_resnet8", module_count=module_count, batch_size=256)
    _, simulation = simulate_case(case)
    stream, settings = simulation.stream, parse_settings(allocator)
    free = replay(stream, settings)
    peak = find_peak(stream, free, 2)
    exact = find_least_memory(stream, settings)

    def runs(limit):
        return replay(stream, parse_settings(allocator, limit_bytes=limit)).failed is None

    bracket = {"floor_bytes": peak.allocated_bytes, "ceiling_bytes": max(free.reserved), "most_bytes": MOST}
    assert find_least_limit(runs, guess_bytes=exact, **bracket) == exact
    found = find_least_limit(runs, **bracket)
    assert found >= exact
    assert runs(found)
    assert not runs(found - STEP)


# a whole measurement, with scripted processes


def measure(rule, guess=17 * STEP, **free):
    phases, asked = [], []

    def ask(function, case, limit, time_limit):
        asked.append(limit)
        if limit is not None and not rule(limit // STEP):
            return Outcome(status="out_of_memory", phase="training step", message="CUDA out of memory", seconds=1.0)
        trial = Trial(
            step_seconds=(0.5 if limit else 0.4,) * 7, retry_count=3 if limit else 0, allocated_bytes=10 * STEP,
            reserved_bytes=30 * STEP, device_bytes=MOST, process=ProcessMemory(40 * STEP, "process", 10 * STEP),
            uuid="u",
        )  # fmt: skip
        return Outcome(**{"status": "ok", "result": trial, "seconds": 1.0} | free)

    case = make_case(method="e2e", network="cifar_resnet8", batch_size=4)
    simulate = lambda _: Readings(least_memory_bytes=guess)  # noqa: E731
    return measure_least_memory(case, "cuda", None, None, phases.append, simulate, ask), phases, asked


def test_every_probe_is_kept_with_its_times_and_retries():
    readings, phases, asked = measure(lambda limit: limit >= 17)
    assert readings.least_memory_bytes == 17 * STEP
    assert [probe.limit_bytes for probe in readings.least_memory_probes] == asked == [
        None, 17 * STEP, 16 * STEP, 16 * STEP,
    ]  # fmt: skip
    assert [probe.status for probe in readings.least_memory_probes] == ["ok", "ok"] + ["out_of_memory"] * 2
    assert readings.least_memory_probes[1].step_seconds == (0.5,) * 7
    assert readings.least_memory_probes[1].retry_count == 3
    assert readings.least_memory_probes[2].message == "training step: CUDA out of memory"
    assert readings.context_bytes == 10 * STEP
    assert readings.flags == ("emulated",)
    assert phases == ["simulate", "train without a limit", *(f"train within {n} MiB" for n in (34, 32, 32))]


def test_a_limit_that_failed_and_then_ran_is_flagged():
    answers = iter([False, True])
    readings, *_ = measure(lambda limit: next(answers) if limit == 16 else limit > 16)
    assert readings.least_memory_bytes == 16 * STEP
    assert readings.flags == ("emulated", "non-monotone")


@pytest.mark.parametrize(("status", "error"), [("out_of_memory", MemoryError), ("failed", RuntimeError)])
def test_what_does_not_train_without_a_limit_has_no_least_memory(status, error):
    with pytest.raises(error, match="build: too bad"):
        measure(lambda _: True, status=status, phase="build", message="too bad", result=None)


def test_without_a_gpu_nothing_is_probed():
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=4)
    with pytest.raises(ValueError, match=r"on a CUDA device \(device: cpu\)"):
        measure_least_memory(case, "cpu", None, None, lambda _: None, lambda _: Readings())
