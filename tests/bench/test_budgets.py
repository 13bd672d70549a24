"""Splits within a budget where the allocator takes more than the pieces say."""

from dataclasses import replace

import pytest

from bench import simulated_search
from bench.balancer import Balancer
from bench.cases import make_case
from bench.simulated_search import search_counts, search_within
from partition.solve import BudgetError

REST = 8 * 2**20


@pytest.fixture
def balancer(monkeypatch):
    """Simulates 8 MiB more for splits into the numbers of modules in its `above`."""
    balancer = Balancer(make_case(method="dgl", network="cifar_resnet14", batch_size=64))
    balancer.above = set(range(1, 8))
    simulate = balancer.simulate

    def with_a_rest(solution):
        found = simulate(solution)
        return replace(found, peak_bytes=found.peak_bytes + REST * (found.split.module_count in balancer.above))

    monkeypatch.setattr(balancer, "simulate", with_a_rest)
    return balancer


@pytest.fixture
def peaks(balancer):
    """Predicted, by the number of modules."""
    return {count: balancer.least_peak(count).predicted_peak_bytes for count in range(1, 8)}


@pytest.mark.parametrize("least_overhead", [False, True])
def test_a_refusal_names_the_budget_that_was_asked_for_and_what_would_do(least_overhead, balancer, peaks):
    least = min(peaks.values())
    budget = least + REST // 2
    words = rf"fits into .* \({budget:,} bytes\); the least peak is .* \({least + REST:,} bytes\)"
    with pytest.raises(BudgetError, match=words) as refused:
        balancer.verify_within(budget, least_overhead=least_overhead)
    assert refused.value.nearest_bytes == least + REST
    assert balancer.verify_within(least + REST, least_overhead=least_overhead).peak_bytes == least + REST


@pytest.mark.parametrize("least_overhead", [False, True])
def test_a_split_that_fits_is_found_where_those_tried_before_took_more(least_overhead, balancer, peaks):
    best = min(peaks, key=peaks.get)
    balancer.above.discard(best)
    budget = min(peak for count, peak in peaks.items() if count < best)
    assert peaks[best] <= budget < peaks[best] + REST
    assert balancer.verify_within(budget, least_overhead=least_overhead).split.module_count == best


def test_simulated_splits_within_a_budget_have_the_fewest_modules_or_the_least_overhead(monkeypatch):
    case = make_case(method="asy_infopro", network="cifar_resnet8", batch_size=16)
    tried = list(search_counts(case))
    budget = sorted(found.peak_bytes for found in tried)[-2]
    fitting = [found for found in tried if found.peak_bytes <= budget]
    assert 1 < len(fitting) < len(tried)
    assert search_within(case, budget).split == fitting[0].split
    # Overhead happens to grow with the modules here, so that the first would do; in the other order it would not.
    monkeypatch.setattr(simulated_search, "search_counts", lambda *_: reversed(tried))
    cheapest = search_within(case, budget, least_overhead=True)
    assert cheapest.split != search_within(case, budget).split
    assert cheapest.readings.theoretical_overhead == min(found.readings.theoretical_overhead for found in fitting)
