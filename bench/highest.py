"""What is alive at the highest point of every part of a simulated step, such as a local module or a segment."""

from collections import Counter
from collections.abc import Callable, Iterable

from bench.simulator.simulate import Simulation
from bench.simulator.stream import Place, categorise

HELD, TRANSIENT = "held", "transient"
MADE = ("activations", "auxiliary", "context")


def by_module(place: Place) -> int | None:
    """The local module that a place belongs to."""
    return place.module


def by_run(unit_runs: Iterable[Iterable[str]]) -> Callable[[Place], int | None]:
    """Says which run of units a place belongs to, given the units' names; the head is part of the last.

    Args:
        unit_runs: names of the units of every run, first to last.
    """
    runs = {name: number for number, names in enumerate(unit_runs) for name in names}
    last = max(runs.values())

    def find(place: Place) -> int | None:
        if place.unit is not None:
            return runs[place.unit]
        return last if "head" in (place.phase, place.of) else None

    return find


def highest_points(simulation: Simulation, part_of: Callable[[Place], int | None], count: int) -> list[Counter[str]]:
    """For every part, what is alive at its highest point in the last step: bytes by kind, nothing where it never runs.

    `activations`, `auxiliary` and `context` were made by the part, `transient` dies where it was born, and `held` is
    everything else: parameters, gradients, optimizer state, the batch, what other parts left.

    Args:
        simulation: of the training.
        part_of: number of the part that a place belongs to; None: to that of the event before.
        count: how many parts there are.
    """
    stream, ledger = simulation.stream, simulation.ledger
    kinds = categorise(stream)
    highest: dict[int, tuple[int, Counter[str]]] = {}
    alive: dict[int, tuple[str, int | None, int]] = {}
    last_step = stream.step_events(-1)
    part, now = None, Counter[tuple[str, int | None]]()
    for number, event in enumerate(stream.events[: last_step.stop]):
        if event.action == "alloc":
            alive[event.storage] = (kinds[event.storage], part_of(event.place), ledger.blocks[event.storage])
            now[alive[event.storage][:2]] += ledger.blocks[event.storage]
        else:
            kind, born, size = alive.pop(event.storage)
            now[kind, born] -= size
        if number < last_step.start or event.place.phase == "optimizer":
            continue
        here = part_of(event.place)
        part = part if here is None else here
        total = ledger.allocated[number]
        if part is not None and (part not in highest or total > highest[part][0]):
            highest[part] = (total, _sort_out(now, part))
    return [highest[number][1] if number in highest else Counter() for number in range(count)]


def _sort_out(alive: Counter[tuple[str, int | None]], part: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for (category, born), size in alive.items():
        if category in ("temporary", "workspace"):
            kinds[TRANSIENT] += size
        elif category in MADE and born == part:
            kinds[category] += size
        else:
            kinds[HELD] += size
    return kinds
