"""What a training method is made of: its parts, its options, its entry in the registry. Imports no torch.

Every method is one engine (`methods/engine.py`) with orthogonal parts. A named method is a preset: the fields of
`Parts` it fixes and the options that set others. End-to-end backprop is the engine with no part at all, so a spec such
as `infopro[contrast]+checkpoint` is the fold of its terms over `Parts()`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What ContSup adds to a module's input (ContSup section 3.2)."""

    image: bool = False
    """[E]: an encoder of the image at every junction."""
    features: int = 0
    """[Rn]: encoders of the inputs of the last n modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of reconstruction (lambda1) and of the local loss (lambda2), interpolated from first to last module."""

    first: tuple[float, float]
    last: tuple[float, float]

    def at(self, module: int, module_count: int) -> tuple[float, float]:
        """Weights of local module `module` = 0 .. K-2: linear in the index, the first pair alone at K = 2."""
        ratio = module / (module_count - 2) if module_count > 2 else 0.0  # noqa: PLR2004 - K = 2 has one local loss
        reconstruction, local = (a * (1 - ratio) + b * ratio for a, b in zip(self.first, self.last, strict=True))
        return reconstruction, local


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Orthogonal parts of a training method. The defaults are end-to-end backprop."""

    local_loss: Literal["softmax", "contrast"] | None = None
    """Loss of every module but the last; None: the network is one module."""
    head: str = "1c2f"
    """Auxiliary classifier or projection head: convolutions and linear layers."""
    widen: float = 1.0
    """Factor on the widths of heads and decoders, each truncated to a whole number."""
    reduction: Literal["anchor", "pair"] = "anchor"
    """How the contrastive loss is averaged."""
    decoder: bool = False
    """Reconstruct the image from every local module's output."""
    weights: Weights | None = None
    """Loss weights where there is a decoder; None: the published ones."""
    run_zero_weight: bool = False
    """Run auxiliary networks whose weight is exactly 0, as the released code does."""
    context: Context | None = None
    """Context networks at the junctions; they stay at inference."""
    segments: int | None = None
    """Checkpointed segments inside every module; None: keep all activations."""
    step: Literal["end", "per_module"] = "end"
    """When parameters are updated: once after the last module, or each module after its own backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a method: `name[key=value]`, or `name[value]` where the value tells the option."""

    name: str
    default: str
    help: str
    sets: str
    """The field of `Parts` it sets."""
    choices: Mapping[str, object] = field(default_factory=dict)
    """Allowed values and what they set; empty: `pattern` and `read` decide."""
    pattern: str = ""
    """Regular expression an allowed value matches."""
    read: Callable[[str], object] = str
    """Turns a matching value into what it sets."""
    hint: str = ""
    """What a matching value looks like, for help and errors."""
    variant: bool = False
    """Belongs to the method's name: always shown, and without its key."""

    @property
    def values(self) -> str:
        """Allowed values in words."""
        return "|".join(self.choices) or self.hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An entry of the registry: a preset of parts that begins a spec or is added behind `+`."""

    name: str
    summary: str
    """One line for listings."""
    source: str
    """Paper and section."""
    sets: Mapping[str, object] = field(default_factory=dict)
    """Fields of `Parts` this term fixes."""
    options: tuple[Option, ...] = ()
    needs_local_loss: bool = False
    """Must follow a method that cuts the network into local modules."""
    begins: bool = True
    """May begin a spec."""
    follows: bool = False
    """May follow a `+`."""


STEP = Option(
    name="step",
    sets="step",
    default="end",
    choices={"end": "end", "per_module": "per_module"},
    help="one optimizer step after the last module, or one per module right after its backward",
)
HEAD = Option(
    name="head",
    sets="head",
    default="1c2f",
    choices={
        name: name for name in ("0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f", "mlp-sr", "mlp", "cnn", "auglocal")
    },
    help="local head: number of convolutions and of linear layers (on ImageNet and Cityscapes 1c2f is the head "
    "published there), or DGL's mlp-sr, mlp, cnn and AugLocal's mlp-sr",
)
WIDEN = Option(
    name="widen",
    sets="widen",
    default="1",
    pattern=r"(?=.*[1-9])\d+(\.\d+)?",
    read=float,
    hint="a number above 0",
    help="factor on the widths of heads and decoders",
)
LOSS = Option(
    name="loss",
    sets="local_loss",
    default="softmax",
    choices={"softmax": "softmax", "contrast": "contrast"},
    help="local loss: cross-entropy or supervised contrastive",
)
REDUCTION = Option(
    name="reduction",
    sets="reduction",
    default="anchor",
    choices={"anchor": "anchor", "pair": "pair"},
    help="contrastive loss averaged over anchors (released code) or over positive pairs (printed formula)",
)
