"""Limits: the least memory beside exhaustive search and beside torch's own allocator, and what is said of retries.

`limit_outcomes.csv` says for limits around the least memory whether torch 2.15's CUDA allocator got through three
steps, and its `num_alloc_retries`; recorded on the stand-in of `tests/oracle` by `record_limits.py`.
"""

import csv
import random
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from bench.cases import make_case
from bench.simulator.allocator import MIB, Effort, parse_settings
from bench.simulator.least_memory import find_least_memory
from bench.simulator.ledger import replay
from bench.simulator.simulate import simulate_case
from bench.simulator.stream import Event, Place, Stream
from tests.bench.simulator.recorded import recorded_on

SETTINGS = ("", "expandable_segments:True", "max_split_size_mb:20", "roundup_power2_divisions:4")
OUTCOMES = list(csv.DictReader((Path(__file__).parent / "limit_outcomes.csv").read_text().splitlines()))


def make_stream(seed, count=60):
    """Requests of any size, most of them freed later."""
    source = random.Random(seed)
    stream, alive = Stream(), []
    for number in range(count):
        size = source.choice(
            (source.randint(1, MIB), source.randint(MIB, 10 * MIB), source.randint(10 * MIB, 50 * MIB))
        )
        stream.events.append(Event("alloc", number, size, Place("unit"), ""))
        alive.append((number, size))
        while len(alive) > source.randint(1, 9):
            number_freed, size_freed = alive.pop(source.randrange(len(alive)))
            stream.events.append(Event("free", number_freed, size_freed, Place("unit"), ""))
    return stream


def runs(stream, text, limit):
    return replay(stream, parse_settings(text, limit_bytes=limit)).failed is None


@pytest.mark.parametrize("text", SETTINGS)
@pytest.mark.parametrize("seed", range(6))
def test_the_least_memory_is_that_of_exhaustive_search(text, seed):
    stream = make_stream(seed)
    limits = range(0, max(replay(stream, parse_settings(text)).reserved) + 40 * MIB, 2 * MIB)
    assert find_least_memory(stream, parse_settings(text)) == next(
        limit for limit in limits if runs(stream, text, limit)
    )


def test_more_memory_may_fail_where_less_runs():
    """Why bisection alone will not do: in some streams the outcomes over rising limits change more than once."""
    changes = []
    for seed in range(40):
        stream = make_stream(seed, 40)
        most = max(replay(stream, parse_settings("")).reserved)
        outcomes = [runs(stream, "", limit) for limit in range(most // 2 // MIB * MIB, most + 2 * MIB, 2 * MIB)]
        changes.append(sum(a != b for a, b in pairwise(outcomes)))
    assert max(changes) > 1


def test_no_memory_is_enough_for_more_than_the_device_has():
    stream = make_stream(0)
    assert find_least_memory(stream, parse_settings("", device_bytes=20 * MIB)) is None


def test_with_garbage_collection_every_byte_of_the_limit_counts():
    assert find_least_memory(make_stream(0), parse_settings("garbage_collection_threshold:0.8")) is None


@cache
def simulated(method, network, modules, batch):
    case = make_case(method=method, network=network, module_count=modules, batch_size=batch)
    return simulate_case(case, recorded_on())[1]


def simulation_of(row):
    return simulated(row["method"], row["network"], int(row["modules"]), int(row["batch"]))


@pytest.mark.parametrize("row", OUTCOMES, ids=lambda row: f"{row['method']} {row['allocator']} {row['limit_bytes']}")
def test_under_a_limit_torch_s_allocator_ends_alike_after_as_many_retries(row):
    settings = parse_settings(row["allocator"], limit_bytes=int(row["limit_bytes"]))
    ledger = replay(simulation_of(row).stream, settings)
    assert ledger.failed is None if row["outcome"] == "ok" else ledger.failed is not None
    if row["outcome"] == "ok":
        emptied = sum(effort.action == "emptying the cache" for retry in ledger.retries for effort in retry.efforts)
        assert emptied == int(row["retries"])


def test_the_least_memory_is_where_torch_s_allocator_begins_to_get_through():
    begins = {}
    for row in reversed(OUTCOMES):
        if row["outcome"] == "ok":
            begins[row["method"], row["allocator"]] = row
    assert len(begins) == 6
    for row in begins.values():
        assert find_least_memory(simulation_of(row).stream, parse_settings(row["allocator"])) == int(row["limit_bytes"])


def test_a_retry_says_where_it_was_and_what_went_back():
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=256)
    _, free = simulate_case(case, recorded_on())
    least = find_least_memory(free.stream, recorded_on().settings)
    ledger = replay(free.stream, parse_settings("", limit_bytes=least))
    assert ledger.failed is None
    for retry in ledger.retries:
        *_, (action, returned) = ((effort.action, effort.returned_bytes) for effort in retry.efforts)
        assert action == "emptying the cache"
        before, after = ledger.reserved[retry.event - 1], ledger.reserved[retry.event]
        assert after <= least
        assert after - before + returned >= free.stream.events[retry.event].bytes


def test_oversize_blocks_are_released_before_the_cache_is_emptied():
    place = Place("unit")
    sizes = [30 * MIB, 12 * MIB, 40 * MIB]
    stream = Stream(
        events=[
            Event("alloc", 0, sizes[0], place, ""),
            Event("alloc", 1, sizes[1], place, ""),
            Event("free", 0, sizes[0], place, ""),
            Event("free", 1, sizes[1], place, ""),
            Event("alloc", 2, sizes[2], place, ""),
        ]
    )
    ledger = replay(stream, parse_settings("max_split_size_mb:20", limit_bytes=50 * MIB))
    (retry,) = ledger.retries
    assert retry.efforts == (
        Effort("releasing oversize blocks", 30 * MIB),
        Effort("emptying the cache", 12 * MIB),
    )
    failed = replay(stream, parse_settings("max_split_size_mb:20", limit_bytes=42 * MIB - 1))
    assert failed.failed == 1
    assert failed.last_efforts == (Effort("releasing oversize blocks", 0), Effort("emptying the cache", 0))
