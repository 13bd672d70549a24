"""What a training method is made of: its parts, its options, its entry in the registry. Imports no torch.

Every method is one engine (`methods/engine.py`) with orthogonal parts. A named method is a preset: the fields of
`Parts` it fixes and the options that set others. End-to-end backprop is the engine with no part at all, so a spec such
as `infopro[contrast]+checkpoint` is the fold of its terms over `Parts()`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from partition.runs import Segments

if TYPE_CHECKING:
    from torch import nn

    from methods.chain import Chain, Shape

MakeLocalLoss = Callable[["Chain", "Shape", "Parts"], "nn.Module"]
"""Builds a local loss of one's own from the backbone, the shape (channels, height, width) of a module's output, and the
method; what it builds maps the output (batch, *shape), the normalised images and the labels to a scalar. Its parameters
are trained with the module and dropped at inference. A frozen dataclass with `__call__` has fields that options set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What ContSup adds to a module's input (ContSup section 3.2)."""

    image: bool = False
    """[E]: an encoder of the image at every junction."""
    features: int = 0
    """[Rn]: encoders of the inputs of the last n modules."""
    middles: int = 0
    """[MiR1E]: encoders of i inputs spread over the modules before."""
    hidden: int | None = 12
    """Width between the two convolutions of an image encoder; None: that of its output."""
    raw: bool = False
    """Features are encoded as modules give them, not with their context added."""

    @property
    def encodes(self) -> bool:
        """Whether there is anything to encode."""
        return self.image or self.features > 0

    def sources(self, k: int) -> tuple[int, ...]:
        """Indices j of the module inputs g_j that junction k = 1 .. K-1 encodes by [R] and [M]; g_0 is the image.

        Nearest first. Where the image has its own encoder it is not encoded again.
        """
        first = 1 if self.image else 0
        near = [k - j for j in range(1, self.features + 1)]
        middle = [k * part // (self.middles + 1) for part in range(self.middles, 0, -1)]
        return tuple(j for j in dict.fromkeys(near + middle) if j >= first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """BackLink: the loss of a module also trains the end of the module before it."""

    layers: int = 4
    """How many layers of the module before, at most all of it; whole units."""
    unit: Literal["conv", "block"] = "conv"
    """What a layer is: a convolution, or a unit of the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """MLAAN's multilaminar modules (MLM): besides its own loss, one that trains a window of modules ending in it."""

    modules: int = 2
    """Modules of a window."""
    weights: tuple[float, float] = (0.001, 0.999)
    """Of the loss of the module alone, and of its window."""
    alone: bool = True
    """Modules before the first whole window have their own loss."""
    repeat: bool = False
    """Run the forward of every window anew, as the released code does, instead of sharing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leap:
    """MLAAN's leap augmented modules (LAM): auxiliary networks begin with copies of later units."""

    single: bool = False
    """One set of copies, trained and averaged; else averaged copies of the first are added to trained ones."""
    last_only: bool = False
    """Only the last auxiliary network's copies follow the live weights."""
    momentum: float = 0.995
    """Of the exponential moving average of the live weights."""
    copies: tuple[tuple[int, ...], ...] | None = None
    """Units copied behind a module that ends with each unit; None: `methods.released_copies` says which."""
    before_step: bool = False
    """Average before the optimizer's step, as the released code does, instead of after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """Rounds: local modules are trained one after the other, each to completion."""

    stored: bool = False
    """Inputs of the module under training are stored; else finished modules compute them in every step."""
    ensemble: bool = False
    """A round trains the modules before as well, and a copy of every round's network votes at inference."""
    exponential: bool = False
    """The loss of a round is the exponential of the mean."""
    boosts: bool = False
    """Rounds are weighed by boosting, image by image."""


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

    local_loss: Literal["softmax", "contrast"] | MakeLocalLoss | None = None
    """Loss of every module but the last, by name or built by a function; None: the network is one module."""
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
    link: Link | None = None
    """How far a loss reaches into the module before."""
    cascade: Cascade | None = None
    """Losses over windows of modules."""
    leap: Leap | None = None
    """Copies of later units in auxiliary networks."""
    sequential: Sequential | None = None
    """Rounds in which modules are trained; None: all in the same step."""
    segments: Segments | Literal["balanced"] | None = None
    """Checkpointed segments: how many in every module, or which of the chain; None: keep all activations."""
    deeper: bool = False
    """The backbone gets as many more blocks as make up for InfoPro's auxiliary networks."""
    optimizer: str = "sgd"
    """The method's own, by the name a case gives it."""
    clamp: float | None = None
    """Most of a gradient's values, either way, when parameters are updated; None: as they are."""
    step: Literal["end", "per_module"] = "end"
    """When parameters are updated: once after the last module, or each module after its own backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a method: `name[key=value]`, or `name[value]` where the value tells the option."""

    name: str
    default: str
    help: str
    sets: str
    """The field of `Parts` it sets, or of one of its parts, as in `context.hidden`."""
    choices: Mapping[str, object] = field(default_factory=dict)
    """Allowed values and what they set."""
    pattern: str = ""
    """Regular expression that other allowed values match."""
    read: Callable[[str], object] = str
    """Turns a matching value into what it sets."""
    hint: str = ""
    """What a matching value looks like, for help and errors."""
    variant: bool = False
    """Belongs to the method's name: always shown, and without its key."""

    @property
    def values(self) -> str:
        """Allowed values in words."""
        return "|".join([*self.choices, *([self.hint] if self.hint else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An entry of the registry: a preset of parts that begins a spec or is added behind `+`."""

    name: str
    summary: str
    """One line for listings."""
    source: str
    """Paper and section."""
    begins: Mapping[str, object] | None = field(default_factory=dict)
    """Fields of `Parts` it fixes where it begins a spec; None: it cannot."""
    begin_options: tuple[Option, ...] = ()
    """Options it has only there."""
    sets: Mapping[str, object] = field(default_factory=dict)
    """Fields of `Parts` it fixes wherever it stands."""
    options: tuple[Option, ...] = ()
    follows: bool = False
    """May follow a `+`."""
    needs_local_loss: bool = False
    """Must, where it follows, follow a method that cuts the network into local modules."""


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
