"""The order of blocks, warming up, repeats, flags and the stop rule, on a machine whose clock moves when told."""

import itertools
import math
from dataclasses import replace

import pytest

from bench.probes.limits import Limits
from bench.probes.timing import ClockError, has_settled, is_at_rest, suspect, time_pairs
from results.samples import Block, DeviceState

BUSY = DeviceState(
    sm_clock_hertz=1_900_000_000, temperature_celsius=60, power_watts=650.0,
    throttle_reasons=("software power cap",), foreign_process_count=0,
)  # fmt: skip
DEFAULT_CLOCK = 1_980_000_000


class FakeMachine:
    """A clock that calls move; work that is queued takes its time on a second clock, the device's."""

    def __init__(self, kind="cpu", states=None, watts=None):
        self.kind, self.queues = kind, kind == "cuda"
        self.default_clock_hertz = DEFAULT_CLOCK
        self.host = self.device = 0.0
        self.states = iter(states) if states else itertools.repeat(None)
        self.watts = watts
        self.events = []

    def now(self):
        return self.host

    def mark(self):
        return max(self.device, self.host) if self.queues else self.host

    def between(self, start, end):
        return end - start

    def synchronize(self):
        self.events.append("wait")
        self.host = max(self.host, self.device)

    def state(self):
        return next(self.states)

    def energy_joules(self):
        return None if self.watts is None else self.watts * max(self.host, self.device)

    def work(self, name, seconds, host_seconds=None):
        self.events.append(name)
        if self.queues:
            self.device = max(self.device, self.host) + seconds
            self.host += seconds if host_seconds is None else host_seconds
        else:
            self.host += seconds


class Steps:
    """Two sides whose calls take scripted times: a number, or a function of the number of calls before."""

    def __init__(self, method, reference, machine=None, host_seconds=None):
        self.machine = machine or FakeMachine()
        self.durations = {"a": method, "b": reference}
        self.counts = {"a": 0, "b": 0}
        self.host_seconds = host_seconds
        self.announced = []

    def call(self, name):
        duration = self.durations[name]
        seconds = duration(self.counts[name]) if callable(duration) else duration
        self.counts[name] += 1
        self.machine.work(name, seconds, self.host_seconds)

    def run(self, limits, reference=True):
        other = (lambda: self.call("b")) if reference else None
        return time_pairs(lambda: self.call("a"), other, limits, self.machine, self.announced.append)

    @property
    def order(self):
        return "".join(event for event in self.machine.events if event != "wait")


FOUR = Limits(minimum_pairs=4, maximum_pairs=4, minimum_seconds=0, maximum_seconds=1e9)


def noisy(count):
    return 1.0 + count * 7 % 11


# order


def test_each_side_warms_up_until_it_settles_and_blocks_run_abba():
    steps = Steps(2.0, 1.0)
    samples = steps.run(FOUR)
    assert steps.order == "a" * 6 + "b" * 6 + "abba" * 2
    assert steps.announced == ["warm-up", "training step"]
    assert samples.seconds == (2.0,) * 4
    assert samples.reference_seconds == (1.0,) * 4
    assert [block.side for block in samples.blocks] == ["method", "e2e", "e2e", "method"] * 2
    assert (samples.block_step_count, samples.warm_up_step_count, samples.flags) == (1, 6, ())
    assert (samples.host_seconds, samples.energy_joules) == (None, None)


def test_on_a_gpu_steps_are_queued_and_waited_for_once_a_block():
    machine = FakeMachine("cuda")
    steps = Steps(0.03, 0.02, machine, host_seconds=0.005)
    samples = steps.run(replace(FOUR, minimum_pairs=8, maximum_pairs=64))
    block = ["wait", "a", "a", "a", "a", "wait", "wait", "b", "b", "b", "b", "wait"]
    after_warm_up = machine.events[machine.events.index("b") :]
    start = len(after_warm_up) - len(block) * 2
    assert after_warm_up[start : start + len(block)] == block
    assert samples.block_step_count == 4  # as many as take a tenth of a second
    assert samples.seconds == pytest.approx([0.03] * 8)
    assert samples.reference_seconds == pytest.approx([0.02] * 8)
    assert samples.host_seconds == pytest.approx([0.005] * 8)
    assert samples.blocks[0].wall_seconds == pytest.approx(0.12)


def test_a_gpu_warms_up_for_ten_steps_at_least():
    assert Steps(0.5, 0.5, FakeMachine("cuda")).run(FOUR).warm_up_step_count == 10


def test_energy_is_per_step_of_each_block():
    samples = Steps(0.05, 0.025, FakeMachine("cuda", watts=400.0)).run(FOUR)
    assert samples.energy_joules == pytest.approx([20.0] * 2)
    assert samples.reference_energy_joules == pytest.approx([10.0] * 2)


def test_drift_hits_both_sides_of_a_pair_alike():
    """A machine that slows down steadily: alternating keeps the ratio, two separate loops would not."""
    drift = Steps(lambda count: 2.0 * (1 + 0.01 * count), lambda count: 1.0 * (1 + 0.01 * count))
    samples = drift.run(replace(FOUR, minimum_pairs=20, maximum_pairs=20))
    ratios = [a / b for a, b in zip(samples.seconds, samples.reference_seconds, strict=True)]
    assert sorted(ratios)[10] == pytest.approx(2.0, rel=0.005)


def test_without_a_reference_the_method_runs_alone():
    steps = Steps(lambda count: 1.0 + 0.1 * (count % 3), 1.0)
    samples = steps.run(replace(FOUR, minimum_pairs=8, maximum_pairs=8), reference=False)
    assert set(steps.order) == {"a"}
    assert (len(samples.seconds), samples.reference_seconds, samples.stop) == (8, None, "enough")


# warming up


def test_settled_means_that_the_median_of_five_stands_still():
    assert not has_settled([1.0] * 5)
    assert has_settled([1.0] * 6)
    assert not has_settled([5.0, 4.0, 3.0, 2.0, 1.5, 1.2])
    assert has_settled([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 30.0])  # one slow step moves no median


def test_samples_at_rest_vary_but_do_not_drift():
    rest = [1.0, 1.4, 0.9, 3.0, 1.1, 1.2, 0.8, 1.3, 1.0, 2.0]
    assert is_at_rest(rest)
    assert not is_at_rest(rest[:9])  # too few to tell
    assert not is_at_rest([2.0 + each if number < 5 else each for number, each in enumerate(rest)])
    assert not is_at_rest([1.1**-number for number in range(10)])
    assert is_at_rest([1.0005**-number for number in range(10)])  # by less than one per cent


@pytest.mark.parametrize("reference", [True, False])
def test_a_busy_machine_is_not_unsettled(reference):
    """Steps that vary by half never stand still for five; samples behind the warming up show no drift."""
    waves = Steps(lambda count: 1.0 + 0.5 * math.sin(count**2), 1.0)
    samples = waves.run(replace(FOUR, minimum_pairs=20, maximum_pairs=20, maximum_seconds=3.0), reference=reference)
    assert samples.warm_up_step_count < 6  # too few to settle
    assert samples.flags == ()


def test_warming_up_ends_unsettled_after_a_third_of_the_time():
    slower_and_slower = Steps(lambda count: 1.1**count, 1.0)
    samples = slower_and_slower.run(replace(FOUR, maximum_seconds=30.0))
    assert samples.flags == ("unsettled",)
    assert samples.warm_up_step_count == math.ceil(math.log(1 + 10 * 0.1, 1.1))


@pytest.mark.parametrize("stops_at", [0, 5])
@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_clock_that_does_not_go_on_is_named(stops_at, seconds):
    steps = Steps(lambda count: seconds if count >= stops_at else 1.0, 1.0)
    with pytest.raises(ClockError, match=r"a step took -?\d s by the clock"):
        steps.run(replace(FOUR, maximum_seconds=3.0))


# when it ends


def test_a_quiet_ratio_ends_at_the_fewest_pairs():
    samples = Steps(2.0, 1.0).run(Limits(minimum_pairs=6))
    assert (len(samples.seconds), samples.stop) == (6, "quiet")


def test_a_ratio_that_is_known_has_converged():
    """Pairs that vary by 0.7 % are not quiet, but twelve of them say what the ratio is."""
    little = Steps(lambda count: 1.0 + 0.007 * (-1) ** (count // 2), 1.0)
    samples = little.run(Limits(minimum_pairs=12, maximum_seconds=1e9))
    assert (len(samples.seconds), samples.stop) == (12, "converged")


def test_samples_of_less_than_half_a_second_go_on():
    samples = Steps(0.001, 0.001).run(Limits(minimum_pairs=4, maximum_pairs=1000))
    assert len(samples.seconds) >= 250
    assert samples.stop == "quiet"


def test_a_noisy_ratio_goes_on_to_the_most_pairs():
    samples = Steps(noisy, 1.0).run(Limits(minimum_pairs=4, maximum_pairs=20, maximum_seconds=1e9))
    assert (len(samples.seconds), samples.stop) == (20, "enough")


def test_a_noisy_ratio_ends_at_the_time_limit_but_not_before_the_fewest_pairs():
    samples = Steps(noisy, 1.0).run(Limits(minimum_pairs=8, maximum_pairs=100, maximum_seconds=5.0))
    assert (len(samples.seconds), samples.stop) == (8, "time")


# suspicious blocks


def quartets(*states):
    """The states around the four blocks of each ABBA: the same before and after each."""
    return [state for state in states for _ in range(8)]


HOT = replace(BUSY, throttle_reasons=("software thermal slowdown",))
SLOW = replace(BUSY, sm_clock_hertz=int(0.7 * DEFAULT_CLOCK))
SHARED = replace(BUSY, foreign_process_count=1)


@pytest.mark.parametrize(("state", "flag"), [(HOT, "throttled"), (SLOW, "low clock"), (SHARED, "foreign process")])
def test_a_suspicious_abba_is_run_again_and_what_it_was_is_kept_beside(state, flag):
    machine = FakeMachine("cuda", states=quartets(state, BUSY))
    samples = Steps(0.0625, 0.0625, machine).run(FOUR)
    assert [block.kept for block in samples.blocks] == [False] * 4 + [True] * 4
    assert len(samples.seconds) == 4
    assert {block.flags for block in samples.blocks[:4]} == {(flag,)}
    assert samples.flags == ()


def test_what_stays_suspicious_is_measured_after_three_repeats_and_flagged():
    machine = FakeMachine("cuda", states=itertools.repeat(HOT))
    samples = Steps(0.0625, 0.0625, machine).run(FOUR)
    assert [block.kept for block in samples.blocks] == [False] * 12 + [True] * 4
    assert samples.flags == ("throttled",)


def test_nothing_is_run_again_behind_the_time_limit():
    machine = FakeMachine("cuda", states=itertools.repeat(HOT))
    samples = Steps(0.0625, 0.0625, machine).run(replace(FOUR, maximum_seconds=0.0))
    assert all(block.kept for block in samples.blocks)
    assert samples.flags[-1] == "throttled"


def test_a_power_cap_a_low_clock_before_a_block_and_no_state_are_not_suspicious():
    block = Block(side="method", step_count=1, wall_seconds=1.0, before=SLOW, after=BUSY)
    assert suspect(block, DEFAULT_CLOCK) == ()
    assert suspect(replace(block, before=None, after=None), DEFAULT_CLOCK) == ()
    assert suspect(replace(block, after=SLOW), None) == ()
