"""Times a training step, or inference, against end-to-end backprop.

A method's overhead is a paired ratio: the two alternate in blocks A B B A, so that drift of the machine hits both
alike. A block is some steps of one side back to back, with one synchronise at its end; on CUDA every step lies between
two events of the stream. Around each block the device is asked for its state; an ABBA with a suspicious block is run
again. Every sample is kept; statistics are made when read.

Sees: time of whole steps on the device, the host's time to queue them, wall time and energy of blocks.
Does not see: memory (probing it would change the time), data loading unless the batches come from a loader. Time in
which the device waits for the host lies between the events too.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from bench.probes.limits import Limits
from bench.probes.machine import Machine
from results.samples import Block, Side

HAS_SCIPY = find_spec("scipy") is not None
"""Without it, in a bare CUDA image, sampling ends by the other rules, and medians alone say whether samples drift."""
if HAS_SCIPY:  # now, since an import between two blocks would have the device wait
    from scipy.stats import mannwhitneyu

    from results.statistics import paired_ratio

Call = Callable[[], object]

WARM_UP_STEPS = {"cpu": 2, "cuda": 10}
"""Fewest steps of each side that are run and not kept, by device."""
MOST_WARM_UP_STEPS = 100
SETTLED = 0.01
"""Relative move of the median of the last five steps below which warming up is over."""
WINDOW = 5
FEWEST_TO_TELL = 10
"""Samples of a side below which a rank test finds no drift at all."""
DRIFT_LEVEL = 0.01
"""Chance at which a side without drift is taken for one that drifts."""
WARM_UP_SHARE = 1 / 3
"""Of the time limit, after which warming up ends unsettled."""
FEWEST_ABBAS = 8
"""That fit among the most pairs: an interval is made of whole ABBAs."""
BLOCK_SECONDS = 0.1
BLOCK_STEPS = {"cpu": (1, 1), "cuda": (2, 20)}
"""Fewest and most steps of a block: as many as take `BLOCK_SECONDS`, so that the ends of a queue count little."""
CONVERGED_HALF_WIDTH = 0.01
"""Half-width of the ratio's 95 % interval, relative, below which sampling may end."""
QUIET = 0.005
"""Relative standard deviation of the pairwise ratios below which sampling may end."""
LOW_CLOCK = 0.75
"""Share of the default clock below which a block is suspicious."""
HELD_DOWN = {
    "hardware slowdown",
    "software thermal slowdown",
    "hardware thermal slowdown",
    "hardware power brake",
}
"""Throttle reasons that make a block suspicious. The power cap is not one: busy cards run at it, and what it costs
shows in the clock."""


class ClockError(RuntimeError):
    """The clock did not go on during a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Paired samples in seconds, by position."""

    seconds: tuple[float, ...]
    reference_seconds: tuple[float, ...] | None
    """None where there was no reference."""
    host_seconds: tuple[float, ...] | None
    """Time to queue each of the steps; None where nothing is queued."""
    reference_host_seconds: tuple[float, ...] | None
    energy_joules: tuple[float, ...] | None
    """Per step, one value for every kept block; None where the device does not tell."""
    reference_energy_joules: tuple[float, ...] | None
    blocks: tuple[Block, ...]
    block_step_count: int
    warm_up_step_count: int
    """Calls of the method before the first sample."""
    stop: str
    """`converged`, `quiet`, `enough` or `time`."""
    flags: tuple[str, ...]
    """What was suspicious in blocks that were kept, and `unsettled` where steps had not come to rest."""


@dataclass(slots=True)
class _Side:
    """What one side has so far."""

    name: Side
    call: Call
    seconds: list[float] = field(default_factory=list)
    host_seconds: list[float] = field(default_factory=list)
    energy_joules: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A block and the steps in it."""

    side: _Side
    block: Block
    seconds: list[float]
    host_seconds: list[float]


def time_pairs(
    run: Call,
    reference: Call | None,
    limits: Limits,
    machine: Machine,
    announce: Callable[[str], None] = lambda _: None,
) -> Samples:
    """Sample `run` and `reference` alternately until the ratio is known or a limit is reached.

    Args:
        run: one step of the method; it may return before the device has finished.
        reference: one step of end-to-end backprop; None: the method alone, until a limit is reached or it is quiet.
        limits: when to stop.
        machine: clock and device.
        announce: told of `warm-up` and `training step`.

    Raises:
        ClockError: by the clock a step took no time.
    """
    announce("warm-up")
    warm, settled = _warm_up(run, limits, machine)
    others_settled = True if reference is None or reference is run else _warm_up(reference, limits, machine)[1]
    count = _count_block_steps(statistics.median(warm[-WINDOW:]), machine.kind, limits.maximum_pairs)
    announce("training step")
    method, e2e = _Side("method", run), _Side("e2e", reference or run)
    order = (method, e2e, e2e, method) if reference else (method,) * 4
    blocks: list[Block] = []
    flags: dict[str, None] = {}
    repeats, begin, stop = 0, machine.now(), None
    while stop is None:
        sampled = [_run_block(side, count, machine) for side in order]
        suspicious = dict.fromkeys(flag for each in sampled for flag in each.block.flags)
        late = machine.now() - begin >= limits.maximum_seconds
        if suspicious and repeats < limits.maximum_repeats and not late:
            repeats += 1
            blocks += [replace(each.block, kept=False) for each in sampled]
            continue
        flags |= suspicious
        for each in sampled:
            _keep(each)
            blocks.append(each.block)
        stop = _why_stop(method.seconds, e2e.seconds if reference else None, count, machine.now() - begin, limits)
    if not (settled and others_settled) and not all(is_at_rest(side.seconds) for side in order):
        flags |= {"unsettled": None}
    with_host = machine.queues
    return Samples(
        seconds=tuple(method.seconds),
        reference_seconds=tuple(e2e.seconds) if reference else None,
        host_seconds=tuple(method.host_seconds) if with_host else None,
        reference_host_seconds=tuple(e2e.host_seconds) if with_host and reference else None,
        energy_joules=tuple(method.energy_joules) or None,
        reference_energy_joules=tuple(e2e.energy_joules) or None,
        blocks=tuple(blocks),
        block_step_count=count,
        warm_up_step_count=len(warm),
        stop=stop,
        flags=tuple(flags),
    )


def _time_alone(call: Call, machine: Machine) -> float:
    """Seconds of one call and of all it queued."""
    machine.synchronize()
    start = machine.now()
    call()
    machine.synchronize()
    return _check_clock(machine.now() - start)


def _check_clock(seconds: float) -> float:
    if seconds <= 0:
        raise ClockError(f"a step took {seconds:g} s by the clock, which something stopped, set back or replaced")
    return seconds


def _warm_up(call: Call, limits: Limits, machine: Machine) -> tuple[list[float], bool]:
    """Run until a step's time has settled, or too long; times, and whether it has settled."""
    seconds: list[float] = []
    begin = machine.now()
    fewest = WARM_UP_STEPS[machine.kind]
    while True:
        seconds.append(_time_alone(call, machine))
        settled = has_settled(seconds)
        late = machine.now() - begin >= WARM_UP_SHARE * limits.maximum_seconds or len(seconds) >= MOST_WARM_UP_STEPS
        if len(seconds) >= fewest and (settled or late):
            return seconds, settled


def has_settled(seconds: list[float]) -> bool:
    """Whether the median of the last five samples moved by less than 1 % with the last one."""
    if len(seconds) <= WINDOW:
        return False
    now, before = statistics.median(seconds[-WINDOW:]), statistics.median(seconds[-WINDOW - 1 : -1])
    return abs(now - before) < SETTLED * before


def is_at_rest(seconds: Sequence[float]) -> bool:
    """Whether samples, as far as they tell, became neither faster nor slower from their first half to their second.

    Where a machine is busy, the median of five steps never stands still, and warming up ends by its time. Then the
    samples that follow say whether that mattered: by a rank test, which slow moments do not mislead.
    """
    if len(seconds) < FEWEST_TO_TELL:
        return False
    first, second = seconds[: len(seconds) // 2], seconds[len(seconds) // 2 :]
    now, before = statistics.median(second), statistics.median(first)
    if abs(now - before) < SETTLED * before:
        return True
    return HAS_SCIPY and mannwhitneyu(first, second).pvalue > DRIFT_LEVEL  # pyright: ignore[reportPossiblyUnboundVariable]


def _count_block_steps(seconds: float, kind: str, maximum_pairs: int) -> int:
    fewest, most = BLOCK_STEPS[kind]
    most = max(min(most, maximum_pairs // (2 * FEWEST_ABBAS)), fewest)
    return min(max(math.ceil(BLOCK_SECONDS / seconds) if seconds > 0 else most, fewest), most)


def _run_block(side: _Side, count: int, machine: Machine) -> _Sampled:
    before, energy = machine.state(), machine.energy_joules()  # energy next to the steps: a state takes milliseconds
    marks: list[tuple[Any, Any]] = []
    host_seconds: list[float] = []
    machine.synchronize()
    start = machine.now()
    for _ in range(count):
        begin, queued = machine.mark(), machine.now()
        side.call()
        host_seconds.append(machine.now() - queued)
        marks.append((begin, machine.mark()))
    machine.synchronize()
    wall = machine.now() - start
    energy_after, after = machine.energy_joules(), machine.state()
    block = Block(
        side=side.name,
        step_count=count,
        wall_seconds=wall,
        energy_joules=None if energy is None or energy_after is None else energy_after - energy,
        before=before,
        after=after,
    )
    block = replace(block, flags=suspect(block, machine.default_clock_hertz))
    return _Sampled(side, block, [_check_clock(machine.between(*pair)) for pair in marks], host_seconds)


def suspect(block: Block, default_clock_hertz: int | None) -> tuple[str, ...]:
    """Why a block is suspicious: `throttled`, `low clock`, `foreign process`.

    The clock counts right behind the block: before it the device was waiting.
    """
    states = [state for state in (block.before, block.after) if state is not None]
    reasons = {reason for state in states for reason in state.throttle_reasons or ()}
    clock = block.after.sm_clock_hertz if block.after else None
    words = {
        "throttled": bool(reasons & HELD_DOWN),
        "low clock": bool(clock and default_clock_hertz and clock < LOW_CLOCK * default_clock_hertz),
        "foreign process": any(state.foreign_process_count for state in states),
    }
    return tuple(word for word, seen in words.items() if seen)


def _keep(sampled: _Sampled) -> None:
    side, block = sampled.side, sampled.block
    side.seconds += sampled.seconds
    side.host_seconds += sampled.host_seconds
    if block.energy_joules is not None:
        side.energy_joules.append(block.energy_joules / block.step_count)


def _why_stop(
    seconds: list[float], references: list[float] | None, count: int, elapsed: float, limits: Limits
) -> str | None:
    if len(seconds) < limits.minimum_pairs:
        return None
    if elapsed >= limits.minimum_seconds:
        ratios = seconds if references is None else [a / b for a, b in zip(seconds, references, strict=True)]
        if statistics.pstdev(ratios) < QUIET * statistics.fmean(ratios):
            return "quiet"
        if references is not None and _is_narrow(seconds, references, 2 * count):
            return "converged"
    if len(seconds) >= limits.maximum_pairs:
        return "enough"
    return "time" if elapsed >= limits.maximum_seconds else None


def _is_narrow(seconds: list[float], references: list[float], block: int) -> bool:
    if not HAS_SCIPY:
        return False
    ratio = paired_ratio(seconds, references, block)  # pyright: ignore[reportPossiblyUnboundVariable]
    return (
        ratio.low is not None
        and ratio.high is not None
        and ratio.high - ratio.low < 2 * CONVERGED_HALF_WIDTH * ratio.median
    )
