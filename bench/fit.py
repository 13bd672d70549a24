"""Whether a training fits into an amount of memory, and the largest batch that does. Simulated; imports torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import floor

from bench.isolate import Report
from bench.simulator.least_memory import find_least_memory_of_all
from bench.simulator.ledger import replay
from bench.simulator.model import Model, read_model
from bench.simulator.simulate import join_rounds, simulate_rounds
from bench.simulator.stream import Stream
from results.record import Case

BATCH_STEP = 8
"""Largest batches are looked for in multiples of this."""
MOST_IMAGES = 2**17
"""Largest batch that is tried."""
FIRST_GUESSES = (8, 32)
"""Batches tried before anything is known, in steps."""
MOST_LINES = 12
"""Tries after which the search halves what is left: lines may creep where memory does not grow evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a training has to fit into, in the words of `read_model`."""

    profile: str
    workspace: str
    allocator: str
    memory_bytes: int
    """Most bytes of the allocator's segments: the device's memory without the CUDA context."""

    def model(self, limit_bytes: int | None = None) -> Model:
        """The simulator's model of it, with another limit or none."""
        return read_model(self.profile, workspace=self.workspace, allocator=self.allocator, limit_bytes=limit_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a case needs."""

    case: Case
    fits: bool
    """Three steps run with the memory there is."""
    least_memory_bytes: int | None
    """Least memory of segments with which they run; None: not even the modelled device is enough, or the allocator's
    settings rule such a number out."""
    retries: int
    """Requests served only after cached memory went back to the device; such steps are slow."""
    training_flops: int
    """Of a training step, a multiply-add counts two."""


def try_case(case: Case, device: Device, report: Report) -> Fit:
    """Simulate a case with the memory there is, and find the least it needs."""
    report(f"simulate batch {case.batch_size}")
    traced = _trace(case, device)
    report("find the least memory")
    settings = device.model().for_case(case).settings
    return Fit(
        case=case,
        fits=traced.fits,
        least_memory_bytes=find_least_memory_of_all(traced.streams, settings),
        retries=traced.retries,
        training_flops=traced.training_flops,
    )


def try_largest_batch(case: Case, device: Device, report: Report) -> Fit:
    """The case with the largest batch that fits; with the smallest one tried where none does."""
    known: dict[int, _Traced] = {}

    def look(batch: int) -> _Traced:
        if batch not in known:
            report(f"simulate batch {batch}")
            known[batch] = _trace(replace(case, batch_size=batch), device)
        return known[batch]

    found = find_largest_batch(
        lambda batch: look(batch).fits, lambda batch: look(batch).peak_bytes, device.memory_bytes
    )
    return try_case(replace(case, batch_size=found or BATCH_STEP), device, report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traced:
    """A case traced once, and its allocations served with the memory there is."""

    streams: list[Stream]
    fits: bool
    retries: int
    peak_bytes: int
    """Allocated, in a steady step with all the memory in the world."""
    training_flops: int


def _trace(case: Case, device: Device) -> _Traced:
    rounds = simulate_rounds(case, device.model())
    readings, _ = join_rounds(rounds)
    streams = [one.simulation.stream for one in rounds]
    settings = device.model(device.memory_bytes).for_case(case).settings
    ledgers = [replay(stream, settings) for stream in streams]
    return _Traced(
        streams=streams,
        fits=all(ledger.failed is None for ledger in ledgers),
        retries=sum(len(ledger.retries) for ledger in ledgers),
        peak_bytes=readings.peak_allocated_bytes or device.memory_bytes + 1,
        training_flops=readings.training_flops or 0,
    )


def find_largest_batch(fits: Callable[[int], bool], need: Callable[[int], int], memory_bytes: int) -> int | None:
    """The largest multiple of `BATCH_STEP` that fits while the next one does not.

    Memory grows almost evenly with the batch, so a line through two batches says where to look next.

    Args:
        fits: whether a batch trains.
        need: about the memory of a batch in bytes; guides the search and decides nothing.
        memory_bytes: memory there is.

    Returns:
        None where not even `BATCH_STEP` images fit; at most `MOST_IMAGES`.
    """
    low, high = 0, MOST_IMAGES // BATCH_STEP + 1  # in steps: the first fits, the second does not or is out of bounds
    tried: list[int] = []
    while high - low > 1:
        guess = _next_guess(tried, lambda steps: need(steps * BATCH_STEP), memory_bytes) or (low + high) // 2
        guess = min(max(guess, low + 1), high - 1)
        low, high = (guess, high) if fits(guess * BATCH_STEP) else (low, guess)
        tried.append(guess)
    return low * BATCH_STEP or None


def _next_guess(tried: Sequence[int], need: Callable[[int], int], memory_bytes: int) -> int | None:
    """Where a line through the first and the last try says that memory is full; None: it says nothing."""
    if len(tried) < len(FIRST_GUESSES):
        return FIRST_GUESSES[len(tried)]
    if len(tried) > MOST_LINES or tried[-1] == tried[0]:
        return None
    slope = (need(tried[-1]) - need(tried[0])) / (tried[-1] - tried[0])
    return tried[-1] + floor((memory_bytes - need(tried[-1])) / slope) if slope > 0 else None
