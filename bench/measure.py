"""Measures one case in its own process, in passes one after the other: memory, attribution, time, inference.

Each pass builds what it needs and drops it, so that none sees what another left.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from typing import Any

import psutil
import torch
from torch import Tensor

from bench.isolated import Report, is_out_of_memory
from bench.probes import memory
from bench.probes.attribution import AllocatorHistory, AttributionError
from bench.probes.limits import Limits
from bench.probes.machine import Cpu, Cuda, Machine
from bench.probes.nvml import Gpu, open_gpu
from bench.probes.timing import Samples, time_pairs
from bench.probes.validity import Watched
from bench.simulator.allocator import AllocatorSettingError
from bench.simulator.ledger import find_peak, holders, replay
from bench.simulator.model import read_model
from bench.simulator.recording import observe_training, run_step
from bench.simulator.simulate import STEPS, sum_by_module
from bench.simulator.stream import Place
from bench.training import (
    MEMORY_FORMATS,
    SEED,
    NextBatch,
    autocast,
    build_training,
    count_rounds,
    numeric_options,
)
from bench.workloads.data import synthetic_batch, training_loader
from methods.datasets import get_dataset
from results.record import Case, Readings
from results.samples import Holder, Phase

INFERENCE_SHARE = 1 / 4
"""Of the time limit of steps, for each kind of inference."""
CPU_STEPS = 1
"""Counted steps of the memory pass on a CPU; the resident set moves little from one to the next."""


class _Phases:
    """Tells the caller what is under way, and keeps how long each stretch took."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._now = "start"
        self._since = psutil.Process().create_time()
        self._seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """Say what comes next."""
        self._report(name)
        self._end()
        self._now = name

    def finish(self) -> tuple[Phase, ...]:
        """All stretches, in the order they first began; a stretch that came twice has its sum."""
        self._end()
        return tuple(Phase(name=name, seconds=seconds) for name, seconds in self._seconds.items())

    def _end(self) -> None:
        now = time.time()
        self._seconds[self._now] = self._seconds.get(self._now, 0.0) + max(now - self._since, 0.0)
        self._since = now


@dataclass(slots=True)
class _Pass:
    """What all passes of a case have in common."""

    case: Case
    device: torch.device
    limits: Limits
    phases: _Phases
    gpu: Gpu | None
    flags: dict[str, None]
    """In the order they came up."""

    @property
    def machine(self) -> Machine:
        """What times steps."""
        return Cuda(self.device, self.gpu) if self.device.type == "cuda" else Cpu()

    @property
    def e2e(self) -> Case:
        """The case that this one is compared with."""
        return replace(self.case, method="e2e", module_count=1, split_policy="equal")


def measure(case: Case, device_name: str, limits: Limits, data_root: str | None, report: Report) -> Readings:
    """Measured readings of a case.

    Args:
        case: what to measure.
        device_name: `cuda` or `cpu`.
        limits: when to stop sampling.
        data_root: folder with the dataset's files, for cases with a loader.
        report: told of each phase.

    Raises:
        InvalidTrainingError: what ran was no training.
        ValueError: the dataset is smaller than the batch.
    """
    device, phases = torch.device(device_name), _Phases(report)
    flags: dict[str, None] = {}
    gpu: Gpu | None = None
    if device.type == "cuda":
        phases.begin("context")
        gpu = _open_device(device, flags)
    run = _Pass(case, device, limits, phases, gpu, flags)
    readings = _measure_memory(run)
    if device.type == "cuda":
        readings |= _attribute_peak(run, readings)
    readings |= _time_steps(run, data_root, readings["steps_counted"])
    memory.empty(device)
    readings |= _time_inference(run)
    return Readings(**readings, phases=phases.finish(), flags=tuple(flags))


def _open_device(device: torch.device, flags: dict[str, None]) -> Gpu | None:
    """NVML as it is before CUDA starts, and then CUDA."""
    before = open_gpu()
    torch.zeros(1, device=device)
    if isinstance(before, str):
        flags["no NVML"] = None
        return None
    found = open_gpu(uuid_of(device))
    # By the order of `CUDA_VISIBLE_DEVICES` alone another card may have been looked at before.
    if isinstance(found, str) or str(found.handle) == str(before.handle):
        return before
    return replace(found, earlier_processes=frozenset(), earlier_used_bytes=None)


def uuid_of(device: torch.device) -> str | None:
    """What names a CUDA device on its machine."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else str(uuid)


def read_process_memory(gpu: Gpu | str | None, device: torch.device) -> tuple[int, str, int] | None:
    """Bytes the process holds on the device, how that is known, and what of it is not in the allocator's segments."""
    told = gpu.process_memory() if isinstance(gpu, Gpu) else None
    return None if told is None else (*told, told[0] - torch.cuda.memory_reserved(device))


# --- memory -----------------------------------------------------------------------------------------------------------


def _measure_memory(run: _Pass) -> dict[str, Any]:
    """Peaks of the highest round, as fields of `Readings`."""
    return _measure_cuda_memory(run) if run.device.type == "cuda" else _measure_resident(run)


def _measure_cuda_memory(run: _Pass) -> dict[str, Any]:
    device = run.device
    peaks: dict[str, memory.Peaks] = {"first": {}, "steady": {}, "emptied": {}}
    told: tuple[int, str, int] | None = None
    counted, seconds = 0, 0.0
    for number in range(count_rounds(run.case)):
        run.phases.begin("memory")
        watched = Watched(build_training(run.case, device, training_round=number))
        first, steady = memory.measure_peaks(watched.step_alone, device)
        emptied = memory.measure_emptied_peaks(watched.step_alone, device)
        for kind, found in zip(peaks, (first, steady, emptied), strict=True):
            memory.keep_highest(peaks[kind], found)
        process = read_process_memory(run.gpu, device)
        told = process if process and (told is None or process[0] > told[0]) else told
        watched.check()
        counted, seconds = counted + watched.steps_counted, seconds + watched.first_seconds
        del watched
        memory.empty(device)  # the next round begins as in a new process
    retries = memory.count_retries(device)
    if retries:
        run.flags["retries"] = None
    return {
        **{f"peak_{kind}_bytes": peaks["steady"][kind] for kind in (*memory.KINDS, "active")},
        **{f"first_step_peak_{kind}_bytes": peaks["first"][kind] for kind in (*memory.KINDS, "active")},
        "emptied_peak_reserved_bytes": peaks["emptied"]["reserved"],
        "peak_inactive_split_bytes": peaks["emptied"]["inactive_split"],
        "allocation_retry_count": retries,
        "peak_pinned_bytes": memory.read_pinned_peak(),
        "device_process_bytes": told[0] if told else None,
        "device_process_source": told[1] if told else None,
        "context_bytes": told[2] if told else None,
        "peak_resident_bytes": memory.read_resident_peak(),
        "workspace": "measured",
        "first_step_seconds": seconds,
        "steps_counted": counted,
        "device_uuid": uuid_of(device),
    }


def _measure_resident(run: _Pass) -> dict[str, Any]:
    """The resident set on a CPU: its high-water mark over steps that are warm."""
    start, highest, counted, seconds = memory.read_resident(), 0, 0, 0.0
    for number in range(count_rounds(run.case)):
        run.phases.begin("memory")
        watched = Watched(build_training(run.case, run.device, training_round=number))
        for _ in range(memory.STEPS - 1):
            watched.step_alone()
        memory.empty(run.device)
        memory.forget_resident_peak()
        for _ in range(CPU_STEPS):
            watched.step_alone()
        highest = max(highest, memory.read_resident_peak())
        watched.check()
        counted, seconds = counted + watched.steps_counted, seconds + watched.first_seconds
        del watched
        memory.empty(run.device)
    return {
        "resident_before_bytes": start,
        "peak_resident_bytes": highest,
        "first_step_seconds": seconds,
        "steps_counted": counted,
    }


# --- attribution ------------------------------------------------------------------------------------------------------


def _attribute_peak(run: _Pass, readings: dict[str, Any]) -> dict[str, Any]:
    """What holds the peak of the round that needs most; whatever is not accounted for is flagged."""
    run.phases.begin("attribution")
    try:
        found = [attribute(run.case, run.device, number) for number in range(count_rounds(run.case))]
    except (AttributionError, AllocatorSettingError) as error:
        run.flags[f"no attribution: {error}"] = None
        return {}
    finally:
        memory.empty(run.device)
    held = max(found, key=lambda each: sum(holder.bytes for holder in each))
    rest = readings["peak_allocated_bytes"] - sum(holder.bytes for holder in held)
    if rest:
        run.flags["attribution differs"] = None
        held = (*held, Holder(category="unattributed", module=None, bytes=rest))
    return {"peak_holders": held}


def attribute(case: Case, device: torch.device, number: int = 0) -> tuple[Holder, ...]:
    """What holds the allocated peak of the steady step of one round, from the allocator's history.

    Raises:
        AttributionError: the allocator is in use, or its history is not whole.
        AllocatorSettingError: the case has a setting of the allocator that cannot be replayed.
    """
    memory.empty(device)
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - they would be held from before the history
    memory.empty(device)
    settings = read_model().for_case(case).settings
    with AllocatorHistory(device) as history:
        with history.at(Place("build")):
            training = build_training(case, device, training_round=number)
        observe_training(history, training)
        for _ in range(STEPS):
            run_step(history, training)
        history.end_steps()
        stream = history.stream()
    ledger = replay(stream, settings)
    peak = find_peak(stream, ledger, STEPS - 1)
    return sum_by_module(holders(stream, ledger, peak.event)) if peak else ()


# --- time -------------------------------------------------------------------------------------------------------------


def _time_steps(run: _Pass, data_root: str | None, counted: int) -> dict[str, Any]:
    """Steps of the method beside those of E2E, as fields of `Readings`; `counted` are those of the memory pass."""
    case, device = run.case, run.device
    run.phases.begin("build")
    batches = _loader_batches(case, data_root, device) if case.data == "loader" else None
    rounds = [Watched(build_training(case, device, batches, number)) for number in range(count_rounds(case))]

    def step() -> None:
        for one in rounds:
            one.step()

    reference = step if case.method == "e2e" else _reference_step(run, batches)
    samples = time_pairs(step, reference, run.limits, run.machine, run.phases.begin)
    for one in rounds:
        one.check()
    if any(one.skipped for one in rounds):
        run.flags["skipped updates"] = None
    run.flags |= dict.fromkeys(samples.flags)
    if samples.stop == "time":
        run.flags["time limit"] = None
    last = rounds[-1]
    return {
        "split_sizes": last.training.network.split.sizes,
        "step_seconds": samples.seconds,
        "reference_step_seconds": samples.reference_seconds,
        "step_host_seconds": samples.host_seconds,
        "reference_step_host_seconds": samples.reference_host_seconds,
        "step_energy_joules": samples.energy_joules,
        "reference_step_energy_joules": samples.reference_energy_joules,
        "block_step_count": samples.block_step_count,
        "blocks": samples.blocks,
        "timing_stop": samples.stop,
        "warm_up_step_count": samples.warm_up_step_count,
        "first_loss": last.first_losses[-1],
        "last_loss": last.last_losses[-1],
        "steps_counted": counted + sum(one.steps_counted for one in rounds),
    }


def _reference_step(run: _Pass, batches: NextBatch | None) -> Callable[[], object] | None:
    """A step of E2E on the same device; None where memory does not hold one, which is flagged."""
    try:
        reference = build_training(run.e2e, run.device, batches)
        reference.step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        run.flags["E2E does not fit"] = None
        return None
    return reference.step


def _loader_batches(case: Case, root: str | None, device: torch.device) -> NextBatch:
    """Full batches of the dataset, again and again, loaded when asked for."""
    loader = training_loader(get_dataset(case.dataset), root or "", case.batch_size)
    if len(loader.dataset) < case.batch_size:  # pyright: ignore[reportArgumentType] - torchvision's datasets have a length
        raise ValueError(f"the dataset has fewer images than the batch ({len(loader.dataset)} < {case.batch_size})")  # pyright: ignore[reportArgumentType]
    full = (batch for batch in chain.from_iterable(repeat(loader)) if len(batch[1]) == case.batch_size)

    def next_batch() -> tuple[Tensor, Tensor]:
        images, labels = next(full)
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return next_batch


# --- inference --------------------------------------------------------------------------------------------------------


def _time_inference(run: _Pass) -> dict[str, Any]:
    """Forward passes of the deployed network over the batch and over one image, as fields of `Readings`."""
    run.phases.begin("inference")
    method = _deployed(run.case, run.device)
    peak = None
    if run.device.type == "cuda":
        peak = _inference_peak(method, run)
    reference = method if run.case.method == "e2e" else _deployed(run.e2e, run.device)
    limits = replace(run.limits, maximum_seconds=run.limits.maximum_seconds * INFERENCE_SHARE)
    samples: dict[int, Samples] = {}
    for batch_size in dict.fromkeys((run.case.batch_size, 1)):
        images = _images(run.case, batch_size, run.device)
        calls = [partial(infer, images) for infer in (method, reference)]
        samples[batch_size] = time_pairs(calls[0], calls[1], limits, run.machine)
    whole, single = samples[run.case.batch_size], samples[1]
    return {
        "inference_seconds": whole.seconds,
        "reference_inference_seconds": whole.reference_seconds,
        "inference_block_pass_count": whole.block_step_count,
        "latency_seconds": single.seconds,
        "reference_latency_seconds": single.reference_seconds,
        "latency_block_pass_count": single.block_step_count,
        "inference_peak_allocated_bytes": peak,
    }


def _deployed(case: Case, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The deployed network in evaluation mode, as a function of images."""
    training = build_training(case, device, training_round=count_rounds(case) - 1)
    network = training.network.eval().requires_grad_(requires_grad=False)

    def infer(images: Tensor) -> Tensor:
        with torch.inference_mode(), numeric_options(case), autocast(case, device):
            return network(images)

    return infer


def _images(case: Case, batch_size: int, device: torch.device) -> Tensor:
    images, _ = synthetic_batch(get_dataset(case.dataset), case.height_and_width, batch_size, device, seed=SEED)
    return images.contiguous(memory_format=MEMORY_FORMATS[case.memory_format])


def _inference_peak(infer: Callable[[Tensor], Tensor], run: _Pass) -> int:
    images = _images(run.case, run.case.batch_size, run.device)
    infer(images)
    memory.empty(run.device)
    torch.cuda.reset_peak_memory_stats(run.device)
    infer(images)
    torch.cuda.synchronize(run.device)
    return torch.cuda.max_memory_allocated(run.device)
