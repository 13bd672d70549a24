"""The event stream: what is born and dies during training, in which place, and what it is. Imports no torch."""

from dataclasses import dataclass, field
from typing import Literal, get_args

Category = Literal[
    "parameters",
    "gradients",
    "optimizer state",
    "EMA copies",
    "buffers",
    "input",
    "activations",
    "auxiliary",
    "context",
    "workspace",
    "temporary",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""In the order they are shown."""

OUTSIDE = "outside the step"
_FORWARDS = {"unit": "forward", "window": "forward for a window", "earlier": "forward for a later round"}


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One stretch of a step; two visits of the same unit are two places."""

    phase: str
    """`build`, `unit`, `window`, `earlier`, `head`, `auxiliary`, `context`, `backward`, `recompute` or `optimizer`."""
    module: int | None = None
    """Local module, from 0."""
    unit: str | None = None
    """Unit whose forward or backward this is, by name."""
    of: str | None = None
    """Phase of the forward whose backward this is."""
    within: "Place | None" = None
    """The announced backward that this is a part of."""

    def __str__(self) -> str:
        words = _FORWARDS.get(self.phase, self.phase)
        if self.unit is not None:
            words += f" of unit {self.unit}"
        elif self.of is not None:
            words += f" of the {self.of}"
        return words if self.module is None else f"{words} in local module {self.module + 1}"


@dataclass(frozen=True, slots=True)
class Event:
    """A storage is born or dies."""

    action: Literal["alloc", "free"]
    storage: int
    """Number of the storage, unique within a stream."""
    bytes: int
    """Size of the storage, before any rounding."""
    place: Place
    operator: str
    """The operator that ran, such as `aten.convolution.default`; empty between operators."""


@dataclass(slots=True)
class Stream:
    """Events of a training from its first tensor on."""

    events: list[Event] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    """Index of the first event of every training step."""
    end: int | None = None
    """Index behind the last event of the last step; None while it runs."""
    categories: dict[int, Category] = field(default_factory=dict)
    """What a storage is, where more than its place of birth is known."""

    def step_events(self, step: int) -> range:
        """Indices of the events of a step; negative steps count from the end."""
        bounds = [*self.steps, len(self.events) if self.end is None else self.end]
        step %= len(self.steps)
        return range(bounds[step], bounds[step + 1])


_BY_PHASE: dict[str, Category] = {
    "unit": "activations",
    "window": "activations",
    "earlier": "activations",
    "head": "activations",
    "recompute": "activations",
    "auxiliary": "auxiliary",
    "context": "context",
}


def categorise(stream: Stream) -> dict[int, Category]:
    """Category of every storage of a stream.

    What is known of a storage comes first (parameter, gradient, ..). Else its place of birth decides; what dies in the
    place it was born in, and everything a backward or an optimizer makes, is temporary.
    """
    categories = dict(stream.categories)
    born: dict[int, Place] = {}
    for event in stream.events:
        if event.action == "alloc":
            born[event.storage] = event.place
            categories.setdefault(event.storage, _BY_PHASE.get(event.place.phase, "temporary"))
        elif event.storage not in stream.categories and born[event.storage] is event.place:
            categories[event.storage] = "temporary"
    return categories
