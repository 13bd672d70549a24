"""pytest plugin: the peak memory of a user's own training step, as a fixture and a limit.

`peak_memory(build)` simulates a training step without a GPU, or measures it on one (`--peak-memory=measured`);
`@pytest.mark.limit_peak("2.5 GiB")` fails the test where it is above. Beside pytest-benchmark the peak and the FLOPs go
into `extra_info`. Imports torch with the first call, not before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.simulator.simulate import Simulation

Build = Callable[[], tuple[Any, ...]]
SHOWN_HOLDERS = 6
MARKER = "limit_peak"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMemory:
    """Peaks of a steady training step in bytes."""

    source: str
    """`simulated` or `measured`, and for which device."""
    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    first_step_allocated_bytes: int
    training_flops: int | None
    """Floating-point operations of one step; None where it was measured."""
    place: str | None
    """Where the peak lies, in words; None where it was measured."""
    holders: tuple[tuple[str, int], ...]
    """What holds the allocated peak, in words and bytes, largest first; none where it was measured."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("peakbench", "peak memory of training steps")
    group.addoption(
        "--peak-memory",
        choices=("simulated", "measured"),
        default="simulated",
        help="how the fixture peak_memory finds the peak: simulated without a GPU, or measured on one",
    )
    group.addoption(
        "--peak-memory-device", default="H200", metavar="PROFILE", help="device that is simulated (default: H200)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}(amount): fail where the training step given to peak_memory needs more, as in '2.5 GiB'"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a limit that nothing could exceed."""
    for item in items:
        if item.get_closest_marker(MARKER) and "peak_memory" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} has a limit_peak, but does not use the fixture peak_memory")


@pytest.fixture
def peak_memory(request: pytest.FixtureRequest) -> Iterator[Callable[[Build], PeakMemory]]:
    """Call it with a function that builds network, optimizer and inputs on torch's default device.

    The function returns the step and what it uses: `return step, network, optimizer, images`, as
    `bench.simulator.simulate_step` wants it.
    """
    marker = request.node.get_closest_marker(MARKER)
    limit_bytes = _read_limit(marker, request.node.nodeid) if marker else None
    seen: list[PeakMemory] = []

    def find(build: Build) -> PeakMemory:
        measured = request.config.getoption("--peak-memory") == "measured"
        peak = _measure(build) if measured else _simulate(build, str(request.config.getoption("--peak-memory-device")))
        seen.append(peak)
        _keep(request, peak)
        if limit_bytes is not None and peak.allocated_bytes > limit_bytes:
            pytest.fail(_explain(peak, limit_bytes), pytrace=False)
        return peak

    yield find
    if limit_bytes is not None and not seen:
        pytest.fail("limit_peak: the test never called peak_memory(build), so nothing was looked at", pytrace=False)


def _read_limit(marker: pytest.Mark, test: str) -> int:
    from bench.commands.simulate import read_bytes  # noqa: PLC0415 - only where there is a limit

    if len(marker.args) != 1 or marker.kwargs:
        raise pytest.UsageError(f"{test}: limit_peak takes one amount, as in limit_peak('2.5 GiB')")
    try:
        return read_bytes(str(marker.args[0])) or 0
    except ValueError as error:
        raise pytest.UsageError(f"{test}: limit_peak: {error}") from error


def _simulate(build: Build, profile: str) -> PeakMemory:
    from bench.probes.flops import FlopCounter  # noqa: PLC0415 - torch
    from bench.simulator.model import read_model  # noqa: PLC0415
    from bench.simulator.simulate import simulate_step  # noqa: PLC0415
    from bench.simulator.torch_private import without_compiler  # noqa: PLC0415

    built: list[Any] = []

    def build_once() -> tuple[Any, ...]:
        built[:] = build()
        return tuple(built)

    model = read_model(profile)
    simulation = simulate_step(build_once, model)
    first, steady = simulation.first, simulation.steady
    if first is None or steady is None:
        pytest.fail(f"the training step does not run: {simulation.failure}", pytrace=False)
    with without_compiler(), FlopCounter() as counter:
        built[0]()
    return PeakMemory(
        source=f"simulated for {model.name}, convolution workspaces: {model.workspace}",
        requested_bytes=steady.requested_bytes,
        allocated_bytes=steady.allocated_bytes,
        reserved_bytes=steady.reserved_bytes,
        first_step_allocated_bytes=first.allocated_bytes,
        training_flops=counter.total,
        place=str(steady.place),
        holders=_name_holders(simulation),
    )


def _name_holders(simulation: "Simulation") -> tuple[tuple[str, int], ...]:
    named: dict[str, int] = {}
    for (category, _, unit), size in simulation.holders().items():
        words = category if unit is None else f"{category} of {unit}"
        named[words] = named.get(words, 0) + size
    return tuple(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def _measure(build: Build) -> PeakMemory:
    import torch  # noqa: PLC0415

    from bench.probes.memory import measure_peaks  # noqa: PLC0415

    if not torch.cuda.is_available():
        pytest.fail("--peak-memory=measured needs a CUDA device; leave it out to simulate", pytrace=False)
    device = torch.device("cuda", torch.cuda.current_device())
    with device:
        step, *used = build()
    first, steady = measure_peaks(step, device)
    del step, used
    torch.cuda.empty_cache()
    return PeakMemory(
        source=f"measured on {torch.cuda.get_device_name(device)}",
        requested_bytes=steady["requested"],
        allocated_bytes=steady["allocated"],
        reserved_bytes=steady["reserved"],
        first_step_allocated_bytes=first["allocated"],
        training_flops=None,
        place=None,
        holders=(),
    )


def _keep(request: pytest.FixtureRequest, peak: PeakMemory) -> None:
    """Where reports and pytest-benchmark find the numbers."""
    numbers = {"peak_allocated_bytes": peak.allocated_bytes, "peak_memory_source": peak.source}
    numbers |= {} if peak.training_flops is None else {"training_flops": peak.training_flops}
    request.node.user_properties.extend(numbers.items())
    if "benchmark" in request.fixturenames:
        request.getfixturevalue("benchmark").extra_info.update(numbers)


def _explain(peak: PeakMemory, limit_bytes: int) -> str:
    from reports.units import format_mib  # noqa: PLC0415

    over = peak.allocated_bytes - limit_bytes
    found, limit = format_mib(peak.allocated_bytes), format_mib(limit_bytes)
    lines = [f"peak memory is {found} MiB, {format_mib(over)} MiB above the limit of {limit} MiB ({peak.source})"]
    lines += [f"it lies at: {peak.place}"] if peak.place else []
    lines += ["what holds it:"] if peak.holders else []
    lines += [f"  {format_mib(size):>10} MiB  {words}" for words, size in peak.holders[:SHOWN_HOLDERS]]
    rest = peak.holders[SHOWN_HOLDERS:]
    lines += [f"  {format_mib(sum(size for _, size in rest)):>10} MiB  {len(rest)} more"] if rest else []
    return "\n".join(lines)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line per test that looked at its peak."""
    from reports.units import format_mib  # noqa: PLC0415

    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", None) == "call" and "peak_allocated_bytes" in properties:
                lines.append((report.nodeid, properties))
    if lines:
        terminalreporter.section("peak memory of training steps")
    for name, properties in lines:
        amount = format_mib(properties["peak_allocated_bytes"])
        terminalreporter.line(f"{amount:>10} MiB  {name}  ({properties['peak_memory_source']})")
