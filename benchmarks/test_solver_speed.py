"""How fast splits are found, and how that grows with units and modules: `nox -s benchmarks`."""

import pytest

from partition.local_modules import local_modules
from partition.overlap import Overlap
from partition.segments import checkpoint_segments
from partition.solve import Solver
from tests.partition.profiles import overlapping_profile, random_profile, residual_profile


def test_time_of_every_number_of_modules_of_55_units(benchmark):
    profile = residual_profile(55, noise=20)
    solutions = benchmark.pedantic(lambda: Solver(local_modules(profile)).least_peaks(), rounds=5)
    assert len(solutions) == len(profile.units)


@pytest.mark.parametrize("unit_count", [125, 250, 500, 1000])
def test_time_grows_with_the_units(benchmark, unit_count):
    benchmark.group = "a tenth as many modules as units"
    profile = residual_profile(unit_count, noise=20)
    count = unit_count // 10
    solution = benchmark.pedantic(lambda: Solver(local_modules(profile), count).least_peak(count), rounds=3)
    assert solution.split.module_count == count


@pytest.mark.parametrize("count", [10, 50, 100, 200, 400])
def test_time_grows_with_the_modules(benchmark, count):
    benchmark.group = "modules of 1,000 units"
    pieces = local_modules(residual_profile(1000, noise=20))
    solution = benchmark.pedantic(lambda: Solver(pieces, count).least_peak(count), rounds=2)
    assert solution.split.module_count == count


@pytest.mark.parametrize("unit_count", [25, 50, 100])
def test_time_of_checkpoint_segments(benchmark, unit_count):
    benchmark.group = "checkpoint segments, every number"
    profile = random_profile(0, unit_count, 10**9, segments=1)
    benchmark.pedantic(lambda: Solver(checkpoint_segments(profile)[0]).least_peaks(), rounds=2)


@pytest.mark.parametrize("unit_count", [20, 40, 55, 80])
def test_time_of_windows_grows_with_the_units(benchmark, unit_count):
    benchmark.group = "windows of two modules, every number of modules"
    profile = overlapping_profile(unit_count, Overlap(window=2))
    benchmark.pedantic(lambda: Solver(local_modules(profile)).least_peaks(), rounds=2)


@pytest.mark.parametrize("unit_count", [55, 125, 250, 500, 1000])
def test_time_of_links_grows_with_the_units(benchmark, unit_count):
    benchmark.group = "links of two units, a tenth as many modules as units"
    profile = overlapping_profile(unit_count, Overlap(links=(1, *(2,) * (unit_count - 1))))
    count = unit_count // 10
    benchmark.pedantic(lambda: Solver(local_modules(profile), count).least_peak(count), rounds=2)
