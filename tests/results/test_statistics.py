import numpy as np
import pytest

from results.samples import Probe
from results.statistics import Ratio, expand_level, host_bound_share, median, paired_ratio, slowdown_at


def test_the_median_is_the_middle_sample():
    assert median((3.0, 1.0, 2.0)) == 2.0
    assert median((4.0, 1.0)) == 2.5


def test_a_median_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        median(())


def test_the_ratio_is_the_median_of_pairwise_ratios_not_the_ratio_of_medians():
    # Pairwise 2, 0.5, 4; the medians alone are 2 and 2.
    assert paired_ratio((2.0, 1.0, 8.0), (1.0, 2.0, 2.0)).median == 2.0


def test_a_drift_that_hits_both_members_of_a_pair_cancels():
    reference = np.linspace(1.0, 3.0, 20)
    assert paired_ratio(tuple(1.1 * reference), tuple(reference)) == Ratio(
        pytest.approx(1.1), pytest.approx(1.1), pytest.approx(1.1), 20
    )


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pairs_have_no_interval(count):
    assert paired_ratio((2.0,) * count, (1.0,) * count) == Ratio(2.0, None, None, count)


def test_three_pairs_have_one():
    assert paired_ratio((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)) == Ratio(2.0, 1.0, 3.0, 3)


def test_the_interval_is_the_same_on_every_call():
    samples = [tuple(np.random.default_rng(seed).lognormal(size=40)) for seed in range(10)]
    first, second = ([paired_ratio(each, each[::-1]) for each in samples] for _ in range(2))
    assert first == second


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    true, hits, trials = 1.2, 0, 300
    for _ in range(trials):
        drift = rng.lognormal(sigma=0.3, size=25)
        noise = rng.lognormal(sigma=0.05, size=(2, 25))
        found = paired_ratio(tuple(true * drift * noise[0]), tuple(drift * noise[1]))
        hits += found.low <= true <= found.high
    assert 0.91 <= hits / trials <= 0.98


@pytest.mark.parametrize(("abbas", "steps"), [(5, 1), (8, 6), (20, 2)])
def test_steps_that_shared_a_moment_do_not_make_the_interval_too_narrow(abbas, steps):
    """Moments differ by 3 %, and hit the method alone; pairs resampled one by one would take that for noise."""
    rng = np.random.default_rng(11)
    true, hits, alone, trials = 1.2, 0, 0, 100
    for _ in range(trials):
        moment = np.repeat(rng.lognormal(sigma=0.03, size=abbas), 2 * steps)
        noise = rng.lognormal(sigma=0.05, size=(2, len(moment)))
        samples = tuple(true * moment * noise[0]), tuple(noise[1])
        found, naive = paired_ratio(*samples, block=2 * steps), paired_ratio(*samples)
        hits += found.low <= true <= found.high
        alone += naive.low <= true <= naive.high
    assert hits >= 0.89 * trials
    assert hits >= alone


def test_an_interval_needs_three_blocks():
    assert paired_ratio((1.0, 2.0) * 4, (1.0,) * 8, block=4) == Ratio(1.5, None, None, 8)
    assert paired_ratio((1.0, 2.0) * 6, (1.0,) * 12, block=4).low is not None


def test_the_level_is_expanded_as_student_would_have_it():
    assert expand_level(1000) == pytest.approx(0.95, abs=1e-3)
    assert expand_level(5) == pytest.approx(0.998, abs=1e-3)


def test_a_step_is_host_bound_where_queueing_takes_as_long_as_running():
    assert host_bound_share((1.0, 1.0, 1.0), (0.2, 0.3, 0.9)) == 0.3
    assert host_bound_share((1.0,), (1.5,)) == 1.0


def test_the_slowdown_is_that_of_steps_under_the_limit_over_free_ones():
    probes = [
        Probe(limit_bytes=None, status="ok", step_seconds=(1.0, 1.0, 2.0)),
        Probe(limit_bytes=4, status="ok", step_seconds=(1.5, 1.4, 3.0)),
        Probe(limit_bytes=2, status="out_of_memory"),
    ]
    assert slowdown_at(4, probes) == 1.5
    assert slowdown_at(2, probes) is None


def test_the_interval_narrows_with_more_pairs():
    rng = np.random.default_rng(3)
    widths = []
    for count in (10, 40, 160):
        found = paired_ratio(tuple(rng.lognormal(sigma=0.1, size=count)), (1.0,) * count)
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("seconds", "reference", "message"),
    [
        ((), (), r"do not pair \(method: 0, reference: 0\)"),
        ((1.0, 2.0), (1.0,), r"do not pair \(method: 2, reference: 1\)"),
        ((1.0, 0.0), (1.0, 1.0), "positive"),
        ((1.0, 1.0), (-1.0, 1.0), "positive"),
    ],
)
def test_samples_that_make_no_pairs_are_refused(seconds, reference, message):
    with pytest.raises(ValueError, match=message):
        paired_ratio(seconds, reference)
