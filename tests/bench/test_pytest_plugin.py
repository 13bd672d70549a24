"""The pytest plugin, in tests of tests."""

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

STEP = """
    import pytest
    import torch

    def build():
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64 * 32 * 32, 10)
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        images, labels = torch.empty(32, 3, 32, 32), torch.empty(32, dtype=torch.long)

        def step():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()

        return step, network, optimizer, images, labels
"""


@pytest.fixture
def run(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # An installed peakbench brings the plugin by its entry point.
    installed = bool(entry_points(group="pytest11", name="peakbench"))

    def run(body, *options):
        pytester.makepyfile(STEP + body)
        plugin = () if installed else ("-p", "bench.pytest_plugin")
        return pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", *options)

    return run


def test_limits_are_kept_and_failures_name_what_holds_the_peak(run):
    """In two workers, as with pytest-xdist."""
    result = run(
        """
    @pytest.mark.limit_peak("100 MiB")
    def test_below(peak_memory):
        peak = peak_memory(build)
        # Convolution output and its ReLU, each 32 x 64 x 32 x 32 floats, are kept for the backward.
        assert peak.allocated_bytes > 2 * 32 * 64 * 32 * 32 * 4
        assert peak.requested_bytes <= peak.allocated_bytes <= peak.reserved_bytes
        assert sum(size for _, size in peak.holders) == peak.allocated_bytes
        multiply_adds = 32 * (64 * 27 * 32 * 32 * 2 + 64 * 32 * 32 * 10 * 3)
        assert peak.training_flops == 2 * multiply_adds

    @pytest.mark.limit_peak("20 MiB")
    def test_above(peak_memory):
        peak_memory(build)

    @pytest.mark.limit_peak("1 GiB")
    def test_that_looks_at_nothing(peak_memory):
        pass

    @pytest.mark.limit_peak("plenty")
    def test_unreadable(peak_memory):
        pass

    @pytest.mark.limit_peak()
    def test_without_amount(peak_memory):
        pass
    """,
        "-n2",
    )
    result.assert_outcomes(passed=2, failed=1, errors=3)
    result.stdout.fnmatch_lines(
        ["peak memory is * MiB above the limit of 20.0 MiB (simulated for NVIDIA H200*", "*MiB  activations of *"]
    )
    text = result.stdout.str()
    for words in (
        "limit_peak: the test never called peak_memory(build)",
        "cannot read 'plenty' as an amount of memory",
        "limit_peak takes one amount, as in limit_peak('2.5 GiB')",
    ):
        assert words in text
    listed = text.partition("peak memory of training steps")[2]
    assert listed.count("simulated for NVIDIA H200") >= 2


def test_a_limit_without_the_fixture_is_refused(run):
    result = run("""
    @pytest.mark.limit_peak("1 GiB")
    def test_step():
        pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("does not use the fixture peak_memory" in line for line in [*result.outlines, *result.errlines])


def test_measuring_without_a_gpu_says_so(run):
    result = run(
        """
    def test_step(peak_memory):
        peak_memory(build)
    """,
        "--peak-memory=measured",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*needs a CUDA device*"])


def test_beside_benchmark_the_numbers_are_kept(run, pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # under it, pytest-benchmark only warns
    result = run(
        """
    def test_step(peak_memory, benchmark):
        peak_memory(build)
        benchmark(lambda: None)
    """,
        "--benchmark-json=benchmark.json",
    )
    result.assert_outcomes(passed=1)
    extra = json.loads((pytester.path / "benchmark.json").read_text())["benchmarks"][0]["extra_info"]
    assert extra["peak_allocated_bytes"] > 2**20
    assert extra["training_flops"] > 0
