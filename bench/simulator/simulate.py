"""Simulates training without a GPU: a case of ours, or any step of the user's own.

The real code runs three steps on tensors without data: the first one, one in which the optimizer has its state, and a
steady one, when the allocator's segments have settled as well.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from bench.probes.flops import FlopCounter
from bench.simulator.allocator import Effort
from bench.simulator.autocast import autocast_as_cuda
from bench.simulator.ledger import Ledger, Peak, find_peak, holders, replay
from bench.simulator.model import Model, read_model
from bench.simulator.recording import collect_nothing, observe_training, run_step, watch_training
from bench.simulator.refusals import refuse
from bench.simulator.stream import Category, Place, Stream
from bench.simulator.substitutes import as_on_cuda
from bench.simulator.torch_private import choose_as_cuda, without_compiler
from bench.simulator.tracker import StorageTracker, name_places
from bench.splits import is_placed
from bench.training import Training, build_training, count_rounds
from results.record import Case, Readings
from results.samples import Holder

META = torch.device("meta")
STEPS = 3
KINDS = ("requested", "allocated", "reserved")

Holders = Counter[tuple[Category, int | None, str | None]]
"""Bytes by category, local module and unit."""


class NotSimulatedError(ValueError):
    """A case whose memory nobody can tell without a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A simulated training of three steps."""

    stream: Stream
    ledger: Ledger
    first: Peak | None
    """Peaks of the first step, as far as it came; None where it did not begin."""
    steady: Peak | None
    """Peaks of the last step, as far as it came; None where it did not begin."""
    training_round: int | None = None
    """Which round of the method this is, from 1; None: it has no rounds."""

    @property
    def peak(self) -> Peak | None:
        """The peak of the last step that began."""
        return self.steady or self.first

    @property
    def peak_place(self) -> str | None:
        """Where the peak lies, in words."""
        return f"{self._round_words}{self.peak.place}" if self.peak else None

    @property
    def _round_words(self) -> str:
        return "" if self.training_round is None else f"round {self.training_round}, "

    def holders(self) -> Holders:
        """What holds the peak; sums to its allocated bytes."""
        return holders(self.stream, self.ledger, self.peak.event) if self.peak else Counter()

    @property
    def failure(self) -> str | None:
        """Where, after what and why memory ran out, in words; None where it did not."""
        if self.ledger.failed is None:
            return None
        return f"{self.failed_place}, after {describe(self.ledger.last_efforts)}: {self.ledger.message}"

    @property
    def failed_place(self) -> str | None:
        """Where memory ran out: the place and the step, from 1."""
        return None if self.ledger.failed is None else self.locate(self.ledger.failed)

    def step_of(self, event: int) -> int:
        """Number of the step an event is in, from 1; 0 before the first."""
        return sum(start <= event for start in self.stream.steps)

    def locate(self, event: int) -> str:
        """Place and step of an event, in words."""
        step = self.step_of(event)
        return f"{self._round_words}{self.stream.events[event].place}" + (f", step {step}" if step else "")

    def retries_by_step(self) -> Counter[int]:
        """How often memory had to go back to the device to serve a request, by step from 1; 0 is before the first."""
        return Counter(self.step_of(retry.event) for retry in self.ledger.retries)


def describe(efforts: Iterable[Effort]) -> str:
    """What an allocator did to find memory, such as `emptying the cache (314572800 bytes returned)`."""
    return ", then ".join(f"{effort.action} ({effort.returned_bytes} bytes returned)" for effort in efforts)


@without_compiler()
def simulate_step(build: Callable[[], tuple[Any, ...]], model: Model | None = None) -> Simulation:
    """Simulate any training step.

    Args:
        build: called once with the meta device as default; makes network, optimizer and inputs, and returns the step (a
            function without arguments) and, for the explanation of the peak, the modules, optimizers and inputs it
            uses: `return step, network, optimizer, images`.
        model: the device and allocator; None for `read_model()`.

    Raises:
        StepError: the step needs a number that only data could give, or an operator that has no meta kernel.
    """
    model = model or read_model()
    tracker = StorageTracker(model.device)
    with autocast_as_cuda(), tracker, tracker.at(Place("build")), as_on_cuda(model.device), META:
        step, *used = build()
    modules = [item for item in used if isinstance(item, nn.Module)]
    optimizers = [item for item in used if isinstance(item, torch.optim.Optimizer)]
    tracker.categorise((item for item in used if isinstance(item, Tensor)), "input")
    with (
        autocast_as_cuda(),
        tracker,
        as_on_cuda(model.device),
        choose_as_cuda(),
        refuse(tracker.here),
        name_places(tracker, modules, optimizers),
    ):
        for _ in range(STEPS):
            tracker.start_step()
            step()
            watch_training(tracker, modules, optimizers)
        tracker.end_steps()
    return _settle(tracker.stream, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A simulated round of a method; a method that trains all modules in the same step has one."""

    readings: Readings
    """Of this round alone; the deployed network is the one at its end."""
    simulation: Simulation
    flops: Counter[str]
    """Of a step, by phase."""


def simulate_case(case: Case, model: Model | None = None) -> tuple[Readings, Simulation]:
    """Simulate a case: its peaks, FLOPs and parameter counts, as on a CUDA device.

    Args:
        case: what to simulate; its batch size costs neither time nor memory here.
        model: the device and allocator; None for `read_model()`.

    Returns:
        The readings of the case (without peaks where memory ran out), and the simulation behind them.
    """
    return join_rounds(simulate_rounds(case, model))


@collect_nothing()
@without_compiler()
def simulate_rounds(case: Case, model: Model | None = None) -> list[Round]:
    """Simulate every round of a case, each as in a process of its own; arguments as those of `simulate_case`.

    Raises:
        NotSimulatedError: the case is compiled.
        AllocatorSettingError: it has a setting of the allocator that is not simulated.
    """
    if case.compile != "none":
        raise NotSimulatedError(
            f"torch.compile makes kernels of its own, whose memory is not simulated (compile: {case.compile})"
        )
    if not is_placed(case):
        from bench.balance import place_boundaries  # noqa: PLC0415 - which simulates cases itself

        case = place_boundaries(case, model)
    model = (model or read_model()).for_case(case)
    with autocast_as_cuda():
        return [_simulate_round(case, model, number) for number in range(count_rounds(case))]


def join_rounds(rounds: Sequence[Round]) -> tuple[Readings, Simulation]:
    """Readings of a case from those of its rounds, and the simulation of the round that needs most memory.

    FLOPs are those of one step of every round, so that each module is trained once, as in a step of another method;
    peaks are the highest of any round, the deployed network that of the last. Where a round runs out of memory there
    are no peaks, and the simulation is that of the first such round.
    """
    if len(rounds) == 1:
        return rounds[0].readings, rounds[0].simulation
    failed = next((one for one in rounds if one.simulation.failure), None)
    shown = failed or max(rounds, key=lambda one: one.readings.peak_allocated_bytes or 0)
    flops = reduce(add, (one.flops for one in rounds))
    peaks = {
        name: None if failed else max(getattr(one.readings, name) or 0 for one in rounds)
        for step in ("peak", "first_step_peak")
        for name in (f"{step}_{kind}_bytes" for kind in KINDS)
    }
    readings = replace(
        rounds[-1].readings,
        training_flops=flops.total(),
        training_macs=flops.total() // 2,
        theoretical_overhead=theoretical_overhead(flops),
        peak_phase=shown.readings.peak_phase,
        peak_holders=None if failed else shown.readings.peak_holders,
        **peaks,
    )
    return readings, shown.simulation


def _simulate_round(case: Case, model: Model, number: int) -> Round:
    tracker, counter = StorageTracker(model.device), FlopCounter()
    with tracker, tracker.at(Place("build")):
        training = build_training(case, META, training_round=number)
    network = training.network
    observe_training(tracker, training, counter.observe)
    with tracker, as_on_cuda(model.device), choose_as_cuda():
        for _ in range(STEPS - 1):
            run_step(tracker, training)
        with counter:
            run_step(tracker, training)
        tracker.end_steps()
    simulation = _settle(tracker.stream, model)
    if count_rounds(case) > 1:
        simulation = replace(simulation, training_round=number + 1)
    steady = None if simulation.failure else simulation.steady
    first = simulation.first if steady else None
    readings = Readings(
        split_sizes=network.split.sizes,
        parameter_count=sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        deployed_parameter_count=sum(parameter.numel() for parameter in network.deployed_parameters()),
        training_flops=counter.total,
        training_macs=counter.total // 2,
        theoretical_overhead=theoretical_overhead(counter.flops),
        peak_requested_bytes=steady and steady.requested_bytes,
        peak_allocated_bytes=steady and steady.allocated_bytes,
        peak_reserved_bytes=steady and steady.reserved_bytes,
        first_step_peak_requested_bytes=first and first.requested_bytes,
        first_step_peak_allocated_bytes=first and first.allocated_bytes,
        first_step_peak_reserved_bytes=first and first.reserved_bytes,
        peak_holders=sum_by_module(simulation.holders()) if steady else None,
        peak_phase=simulation.peak_place,
        workspace=model.workspace,
        **_count_inference(training, tracker),
    )
    return Round(readings=readings, simulation=simulation, flops=counter.flops)


def sum_by_module(held: Holders) -> tuple[Holder, ...]:
    """What holds a peak by category and local module, sorted."""
    sums: Counter[tuple[Category, int | None]] = Counter()
    for (category, module, _), size in held.items():
        sums[category, module] += size
    ordered = sorted(sums, key=lambda owner: (owner[0], -1 if owner[1] is None else owner[1]))
    return tuple(Holder(category=category, module=module, bytes=sums[category, module]) for category, module in ordered)


def theoretical_overhead(flops: Counter[str]) -> float:
    """What a method adds to the arithmetic of a training step, from FLOPs by phase.

    Auxiliary and context networks, and units that run again for a window or a later round, count by their forward over
    the backbone's forward, as InfoPro's Table 3 does; recomputation by its share of everything else in the step.
    """
    backbone = flops["unit"] + flops["head"]
    added = sum(flops[phase] for phase in ("auxiliary", "context", "window", "earlier"))
    return added / backbone + flops["recompute"] / (flops.total() - flops["recompute"])


def _settle(stream: Stream, model: Model) -> Simulation:
    ledger = replay(stream, model.settings)
    first, steady = (find_peak(stream, ledger, step) for step in (0, STEPS - 1))
    return Simulation(stream=stream, ledger=ledger, first=first, steady=steady)


def _count_inference(training: Training, tracker: StorageTracker) -> dict[str, Any]:
    with torch.no_grad(), tracker, FlopCounter() as counter:
        training.infer()
    return {"inference_flops": counter.total, "inference_macs": counter.total // 2}
