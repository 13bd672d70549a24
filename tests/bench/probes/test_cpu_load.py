"""What others used of the CPU, on made-up times and beside a process that is busy."""

import multiprocessing
import time

import pytest

from bench.probes.cpu_load import CpuTimes, read_cpu_times, share_of_others


def times(wall, everything, own):
    return CpuTimes(wall_seconds=wall, all_seconds=everything, own_seconds=own)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (times(10.0, 20.0, 20.0), 0.0),  # both cores, all ours
        (times(10.0, 20.0, 10.0), 0.5),
        (times(10.0, 5.0, 0.0), 0.25),
        (times(10.0, 4.9, 5.0), 0.0),  # the kernel counts coarsely
        (times(0.0, 0.0, 0.0), None),
    ],
)
def test_the_share_of_others_is_what_was_not_ours(after, share):
    assert share_of_others(times(0.0, 0.0, 0.0), after, core_count=2) == share


def test_a_busy_process_is_seen():
    busy = multiprocessing.get_context("fork").Process(target=work, args=(time.monotonic() + 0.6,))
    busy.start()
    before = read_cpu_times()
    time.sleep(0.4)
    share = share_of_others(before, read_cpu_times(), core_count=1)
    busy.join()
    assert share > 0.1


def work(until):
    while time.monotonic() < until:
        pass
