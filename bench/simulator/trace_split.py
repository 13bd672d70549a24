"""Simulates one step of a chain under a split and says what each of its pieces did."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain as join_all
from itertools import takewhile

import torch
from torch import Tensor, nn

from bench.probes.flops import FlopCounter
from bench.simulator.autocast import autocast_as_cuda
from bench.simulator.model import Model
from bench.simulator.operators import Device
from bench.simulator.overlap_pieces import OverlappingPieces, cut_overlapping
from bench.simulator.pieces import UPDATE, Key, Stretch, cut_step, fold, round_to_block
from bench.simulator.recording import collect_nothing
from bench.simulator.stream import Event, Place
from bench.simulator.substitutes import as_on_cuda
from bench.simulator.torch_private import choose_as_cuda, storage_key, without_compiler
from bench.simulator.tracker import StorageTracker, Workspaces
from bench.training import MEMORY_FORMATS, Training, build_training
from methods.api import Parts
from methods.chain import Chain
from methods.engine import TrainingNetwork
from partition import Split
from partition.overlap import ModuleStep, Overlap, plan_modules
from results.record import Case

META = torch.device("meta")


@dataclass(slots=True)
class Shared:
    """What traces of alike steps need not find out again."""

    workspaces: Workspaces | None = None
    """Those that threads keep from the first step on; None before the first trace."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A simulated step."""

    split: Split
    parts: Parts
    network: TrainingNetwork
    optimizers: tuple[torch.optim.Optimizer, ...]
    pieces: Mapping[Key, Stretch]
    """Net bytes and highest prefix of every piece."""
    overlapping: OverlappingPieces | None
    """Backwards where losses reach beyond their module."""
    steps: tuple[ModuleStep, ...]
    """What every module's step does, where losses reach beyond their module."""
    updates: Mapping[int, Stretch]
    """What each update of parameters did, by module."""
    kept_bytes: int
    """Net bytes of the step when the optimizer begins, at its end."""
    alive_bytes: int
    """What was alive when the step began."""
    peak_bytes: int
    """Most bytes alive in the step."""
    flops: Counter[str]
    """Floating-point operations of forwards, by phase, module and unit, such as `unit 0 stem`, the second time with
    `again` behind."""

    def persistent_bytes(self, *modules: nn.Module) -> int:
        """Parameters, buffers and optimizer state of modules."""
        return _sum_bytes(join_all(_tensors(modules), self._states(modules)))

    def gradient_bytes(self, parameters: Iterable[nn.Parameter]) -> int:
        """Gradients of parameters."""
        return _sum_bytes(parameter for parameter in parameters if parameter.requires_grad)

    def _states(self, modules: Iterable[nn.Module]) -> Iterator[Tensor]:
        for parameter in join_all.from_iterable(module.parameters() for module in modules):
            for optimizer in self.optimizers:
                values = optimizer.state.get(parameter, {}).values()
                yield from (value for value in values if isinstance(value, Tensor) and value.is_meta)


@collect_nothing()
@without_compiler()
def trace_split(
    case: Case,
    chain: Chain,
    split: Split,
    parts: Parts,
    model: Model,
    shared: Shared | None = None,
    overlap: Overlap | None = None,
) -> Trace:
    """Simulate a step of a chain on the meta device.

    Args:
        case: batch and numeric options.
        chain: the backbone, on the meta device; its gradients are dropped.
        split: its local modules.
        parts: the method.
        model: the device.
        shared: by traces of alike steps, which saves them a step.
        overlap: how far losses reach beyond their module; None: not at all.

    Raises:
        PieceError: the method's step is no sequence of local modules, or does not overlap as said.
    """
    model, shared = model.for_case(case), shared or Shared()
    run = _Run.begin(case, chain, split, parts, model)
    if shared.workspaces is not None and run.skip_first_step(shared.workspaces):
        run.step()
        if run.was_steady(shared.workspaces):
            return run.cut(overlap)
        run = _Run.begin(case, chain, split, parts, model)
    run.step()
    run.step()
    shared.workspaces = run.tracker.workspaces
    return run.cut(overlap)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A training on the meta device, as far as it has come."""

    split: Split
    parts: Parts
    training: Training
    tracker: StorageTracker
    counter: FlopCounter
    device: Device

    @classmethod
    def begin(cls, case: Case, chain: Chain, split: Split, parts: Parts, model: Model) -> "_Run":
        """Build the network, its optimizers and the batch."""
        with META:
            network = TrainingNetwork(chain, split, parts).train().to(memory_format=MEMORY_FORMATS[case.memory_format])
        for parameter in network.parameters():
            parameter.grad = None
        tracker = StorageTracker(model.device)
        with autocast_as_cuda(), tracker:
            training = build_training(case, META, network=network)
        for tensor in _tensors([network]):
            tracker.see(tensor)
        return cls(
            split=split,
            parts=parts,
            training=training,
            tracker=tracker,
            counter=FlopCounter(),
            device=model.device,
        )

    def step(self) -> None:
        """A whole step of the training."""
        self.counter = FlopCounter()
        self.training.announce(_Observer(self.tracker, self.counter, self.training.network.chain.unit_names))
        with autocast_as_cuda(), self.tracker, as_on_cuda(self.device), choose_as_cuda(), self.counter:
            self.tracker.start_step()
            self.training.step()

    def skip_first_step(self, workspaces: Workspaces) -> bool:
        """Leave behind what a first step does: gradients, the optimizer's state, workspaces. Says whether that is all.

        Where modules are updated one by one no gradients stay, and scaled losses have state of their own.
        """
        training = self.training
        if self.parts.step == "per_module" or training.scaler.is_enabled():
            return False
        with autocast_as_cuda(), self.tracker, as_on_cuda(self.device), choose_as_cuda():
            self.tracker.keep(workspaces)
            for parameter in self._trained():
                parameter.grad = torch.empty_like(parameter)
            for optimizer in training.optimizers:
                optimizer.step()
        return True

    def was_steady(self, workspaces: Workspaces) -> bool:
        """Whether what a step uses and leaves behind is what was there before it."""
        return self.tracker.workspaces == workspaces and all(one.grad is not None for one in self._trained())

    def _trained(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.training.network.parameters() if parameter.requires_grad)

    def cut(self, overlap: Overlap | None) -> Trace:
        """The last step in its pieces."""
        self.tracker.end_steps()
        stream, network = self.tracker.stream, self.training.network
        number = len(stream.steps) - 1
        events = stream.step_events(number)
        steps = tuple(plan_modules(overlap, self.split)) if overlap else ()
        overlapping = cut_overlapping(stream, number, steps, network.chain.unit_names) if overlap else None
        pieces = overlapping.keyed if overlapping else cut_step(stream, number)
        alive, _ = fold(stream.events[: events.start])
        of_step = stream.events[events.start : events.stop]
        return Trace(
            split=self.split,
            parts=self.parts,
            network=network,
            optimizers=self.training.optimizers,
            pieces=pieces,
            overlapping=overlapping,
            steps=steps,
            updates={key.module: stretch for key, stretch in pieces.items() if key.part == UPDATE},
            kept_bytes=fold(list(takewhile(_before_optimizer, of_step)))[0],
            alive_bytes=alive,
            peak_bytes=alive + fold(of_step)[1],
            flops=self.counter.flops,
        )


def _before_optimizer(event: Event) -> bool:
    return event.place.phase != "optimizer"


class _Observer:
    """Tells tracker and counter what is under way."""

    def __init__(self, tracker: StorageTracker, counter: FlopCounter, unit_names: tuple[str, ...]) -> None:
        self.tracker = tracker
        self.counter = counter
        self.unit_names = unit_names
        self.visits: Counter[str] = Counter()
        """How often each label was visited."""

    @contextmanager
    def __call__(self, phase: str, module: int, unit: int | None = None) -> Iterator[None]:
        name = None if unit is None else self.unit_names[unit]
        label = phase if phase in ("backward", "recompute", "optimizer") else f"{phase} {module} {name}"
        self.visits[label] += 1
        label += " again" * (self.visits[label] - 1)
        with self.tracker.at(Place(phase, module, name)), self.counter.observe(label, module, unit):
            yield


def _tensors(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    return join_all.from_iterable(join_all(module.parameters(), module.buffers()) for module in modules)


def _sum_bytes(tensors: Iterable[Tensor]) -> int:
    """Blocks of the storages behind tensors, each counted once."""
    sizes = {storage_key(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(map(round_to_block, sizes.values()))
