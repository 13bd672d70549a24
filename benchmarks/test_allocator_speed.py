"""How fast the allocator serves events, and what live and free blocks cost it: `nox -s benchmarks`."""

import random

import pytest

from bench.simulator.allocator import MIB, CachingAllocator, parse_settings

EVENT_COUNT = 10_000
SETTINGS = {
    "defaults": "",
    "expandable": "expandable_segments:True",
    "oversize": "max_split_size_mb:64",
    "roundup": "roundup_power2_divisions:8",
}


def make_events(live_count, seed=0):
    """Requests (name, size) until so many are live, then frees (name, 0) and requests in turn, each of a random one."""
    source = random.Random(seed)
    live, events = [], []
    for name in range(live_count + EVENT_COUNT // 2):
        if len(live) == live_count:
            place = source.randrange(live_count)
            live[place], live[-1] = live[-1], live[place]
            events.append((live.pop(), 0))
        live.append(name)
        events.append((name, source.choice((source.randint(1, MIB), source.randint(MIB, 64 * MIB)))))
    return events


def serve(allocator, events):
    for name, size in events:
        if size:
            allocator.allocate(name, size)
        else:
            allocator.free(name)


def run(benchmark, text, live_count):
    events = make_events(live_count)
    filling, steady = events[:live_count], events[live_count:]

    def prepare():
        allocator = CachingAllocator(parse_settings(text))
        serve(allocator, filling)
        return (allocator, steady), {}

    benchmark.pedantic(serve, setup=prepare, rounds=7, warmup_rounds=1)
    benchmark.extra_info["events_per_second"] = round(len(steady) / benchmark.stats.stats.min)


@pytest.mark.parametrize("name", SETTINGS)
def test_time_of_ten_thousand_events(benchmark, name):
    benchmark.group = "settings"
    run(benchmark, SETTINGS[name], live_count=200)


@pytest.mark.parametrize("live_count", [10, 100, 1_000, 10_000])
def test_time_grows_little_with_the_live_blocks(benchmark, live_count):
    benchmark.group = "live blocks"
    run(benchmark, "", live_count)
