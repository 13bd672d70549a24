import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import SplitError, equal_split
from partition.baselines import block_partition, least_largest
from tests.partition.profiles import all_splits

WEIGHTS = st.lists(
    st.one_of(st.integers(0, 9), st.integers(10**6, 10**6 + 3), st.integers(0, 10**30)), min_size=1, max_size=9
)


def sums(weights, split):
    return [sum(weights[unit] for unit in units) for units in split.modules()]


@given(WEIGHTS, st.data())
def test_the_largest_sum_is_least(weights, data):
    module_count = data.draw(st.integers(1, len(weights)))
    split = least_largest(weights, module_count)
    assert split.module_count == module_count
    assert max(sums(weights, split)) == min(max(sums(weights, s)) for s in all_splits(len(weights), module_count))


@given(WEIGHTS, st.data())
def test_sums_of_a_block_partition_differ_by_one_weight_at_most(weights, data):
    module_count = data.draw(st.integers(1, len(weights)))
    split = block_partition(weights, module_count)
    assert split.module_count == module_count
    assert split.unit_count == len(weights)
    assert max(sums(weights, split)) - min(sums(weights, split)) <= max(weights)


def test_near_equal_weights_give_near_equal_lengths():
    # Less the minimum these are 0 and 1, and the modules would be cut by where the ones are.
    weights = [1000, 1000, 1000, 1000, 1000, 1000, 1001, 1001]
    assert block_partition(weights, 2) == equal_split(8, 2)


@pytest.mark.parametrize("module_count", [0, 4])
@pytest.mark.parametrize("heuristic", [block_partition, least_largest])
def test_modules_that_cannot_be_are_refused(heuristic, module_count):
    with pytest.raises(SplitError):
        heuristic([1, 2, 3], module_count)
