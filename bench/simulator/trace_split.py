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
from bench.simulator.overlap_pieces import OverlappingPieces, cut_overlapping
from bench.simulator.pieces import UPDATE, Key, Stretch, cut_step, fold, round_to_block
from bench.simulator.shapes import ShapeCache
from bench.simulator.stream import Event, Place
from bench.simulator.substitutes import as_on_cuda
from bench.simulator.torch_private import choose_as_cuda, storage_key
from bench.simulator.tracker import StorageTracker
from bench.training import MEMORY_FORMATS, build_training
from methods.api import Parts
from methods.chain import Chain
from methods.engine import TrainingNetwork
from partition import Split
from partition.overlap import ModuleStep, Overlap, plan_modules
from results.record import Case

META = torch.device("meta")
STEPS = 2
"""In the first the optimizer gets its state; the second is like all that follow."""


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


def trace_split(
    case: Case,
    chain: Chain,
    split: Split,
    parts: Parts,
    model: Model,
    shapes: ShapeCache | None = None,
    overlap: Overlap | None = None,
) -> Trace:
    """Simulate a step of a chain on the meta device.

    Args:
        case: batch and numeric options.
        chain: the backbone, on the meta device; its gradients are dropped.
        split: its local modules.
        parts: the method.
        model: the device.
        shapes: shared by traces of alike steps, which saves most of their time.
        overlap: how far losses reach beyond their module; None: not at all.

    Raises:
        PieceError: the method's step is no sequence of local modules, or does not overlap as said.
    """
    model = model.for_case(case)
    with META:
        network = TrainingNetwork(chain, split, parts).train().to(memory_format=MEMORY_FORMATS[case.memory_format])
    for parameter in network.parameters():
        parameter.grad = None
    tracker, counter = StorageTracker(model.device, shapes=shapes), FlopCounter()
    with autocast_as_cuda(), tracker:
        training = build_training(case, META, network=network)
    for tensor in _tensors([network]):
        tracker.see(tensor)
    observer = _Observer(tracker, counter, chain.unit_names)
    training.announce(observer)
    with autocast_as_cuda(), tracker, as_on_cuda(model.device), choose_as_cuda():
        for step in range(STEPS):
            tracker.start_step()
            if step < STEPS - 1:
                training.step()
            else:
                observer.visits.clear()
                with counter:
                    training.step()
        tracker.end_steps()
    stream = tracker.stream
    events = stream.step_events(STEPS - 1)
    steps = tuple(plan_modules(overlap, split)) if overlap else ()
    overlapping = cut_overlapping(stream, STEPS - 1, steps, chain.unit_names) if overlap else None
    pieces = overlapping.keyed if overlapping else cut_step(stream, STEPS - 1)
    alive, _ = fold(stream.events[: events.start])
    of_step = stream.events[events.start : events.stop]
    return Trace(
        split=split,
        parts=parts,
        network=network,
        optimizers=training.optimizers,
        pieces=pieces,
        overlapping=overlapping,
        steps=steps,
        updates={key.module: stretch for key, stretch in pieces.items() if key.part == UPDATE},
        kept_bytes=fold(list(takewhile(_before_optimizer, of_step)))[0],
        alive_bytes=alive,
        peak_bytes=alive + fold(of_step)[1],
        flops=counter.flops,
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
