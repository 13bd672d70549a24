"""The order of samples and the stop rule, with a clock of the test's own."""

import pytest

from bench.probes.limits import Limits
from bench.probes.timing import time_pairs


class Machine:
    """Calls take scripted times on a fake clock, and are written down."""

    def __init__(self, method, reference):
        self.now = 0.0
        self.calls = ""
        self.durations = {"a": method, "b": reference}

    def clock(self):
        return self.now

    def call(self, name):
        durations = self.durations[name]
        self.now += durations(self.calls.count(name)) if callable(durations) else durations
        self.calls += name

    def run(self, limits, warm_up=2):
        return time_pairs(lambda: self.call("a"), lambda: self.call("b"), limits, warm_up, self.clock)


def test_warm_up_comes_first_and_blocks_run_abba():
    machine = Machine(2.0, 1.0)
    samples = machine.run(Limits(minimum_pairs=4, maximum_pairs=4, maximum_seconds=0), warm_up=3)
    assert machine.calls == "aaabbb" + "abba" * 2
    assert samples.seconds == (2.0,) * 4
    assert samples.reference_seconds == (1.0,) * 4


def test_the_first_step_is_kept_apart():
    machine = Machine(lambda count: 9.0 if count == 0 else 2.0, 1.0)
    samples = machine.run(Limits(minimum_pairs=4, maximum_seconds=0))
    assert samples.first_seconds == 9.0
    assert max(samples.seconds) == 2.0


def test_a_steady_ratio_converges_at_the_fewest_pairs():
    samples = Machine(2.0, 1.0).run(Limits(minimum_pairs=6))
    assert (len(samples.seconds), samples.stop) == (6, "converged")


def test_a_noisy_ratio_goes_on_to_the_most_pairs():
    noisy = Machine(lambda count: 1.0 + count % 7, 1.0)
    samples = noisy.run(Limits(minimum_pairs=4, maximum_pairs=20, maximum_seconds=1e9))
    assert (len(samples.seconds), samples.stop) == (20, "enough")


def test_a_noisy_ratio_ends_at_the_time_limit_but_not_before_the_fewest_pairs():
    noisy = Machine(lambda count: 1.0 + count % 7, 1.0)
    samples = noisy.run(Limits(minimum_pairs=8, maximum_pairs=100, maximum_seconds=5.0))
    assert (len(samples.seconds), samples.stop) == (8, "time")


def test_drift_hits_both_sides_of_a_pair_alike():
    """A machine that slows down steadily: alternating keeps the ratio, two separate loops would not."""
    drift = Machine(lambda count: 2.0 * (1 + 0.01 * count), lambda count: 1.0 * (1 + 0.01 * count))
    samples = drift.run(Limits(minimum_pairs=20, maximum_pairs=20, maximum_seconds=0))
    ratios = [a / b for a, b in zip(samples.seconds, samples.reference_seconds, strict=True)]
    assert sorted(ratios)[10] == pytest.approx(2.0, rel=0.005)
