"""MLAAN: losses over windows of modules (MLM), and auxiliary networks that begin with copies of later units (LAM).

MLM: besides the loss of its own output, every module ends a window of c modules whose loss trains them all, from a
detached input on. LAM: the auxiliary network of module k begins with copies of units behind it, which follow the live
weights by an exponential moving average (EMA). The last module's own loss is that of the network.

Source: MLAAN, arXiv 2406.16633; released CIFAR and ImageNet code.
Departures (the released variants disagree with the paper and with each other; docs/methods/mlaan.md lists them all):
windows have 2 modules, as released for CIFAR (`c=3`: the paper's text). Every module but the last has its own loss, as
printed (`alone=later`: only from the first whole window on, as released). The last module's loss is that of the window
(0.999) and its own (0.001). A trained set of copies U and an averaged copy V of its first unit are added, as released
(`copies=single`: one set, trained and averaged, as printed); V follows after the optimizer's step in every auxiliary
network (`ema_at=before`, `ema_of=last`: as released). Forwards of windows are shared with those of the modules, where
values are equal, so that running statistics move once per step; a module's parameters get the gradients of all losses
in one pass (`forwards=repeat`: every window runs again, and moves running statistics again, as released).
"""

from methods.api import HEAD, LOSS, REDUCTION, Cascade, Leap, Method, Option

_FRACTION = r"0(\.\d+)?|1(\.0+)?"


def read_weights(text: str) -> tuple[float, float]:
    """`0.001/0.999`: weight of a module's own loss and of its window's."""
    alone, window = text.split("/")
    return float(alone), float(window)


WINDOWS = (
    Option(
        name="c",
        sets="cascade.modules",
        default="2",
        pattern=r"[2-9]",
        read=int,
        hint="2 to 9",
        help="modules of a window",
    ),
    Option(
        name="loss_weights",
        sets="cascade.weights",
        default="0.001/0.999",
        pattern=r"\d+(\.\d+)?/\d*[1-9]\d*(\.\d+)?|\d+(\.\d+)?/\d+\.\d*[1-9]\d*",
        read=read_weights,
        hint="alone/window",
        help="weights of a module's own loss and of its window's",
    ),
    Option(
        name="alone",
        sets="cascade.alone",
        default="all",
        choices={"all": True, "later": False},
        help="modules with a loss of their own: all, or only from the first whole window on, as released",
    ),
    Option(
        name="forwards",
        sets="cascade.repeat",
        default="share",
        choices={"share": False, "repeat": True},
        help="whether a window shares the forwards of its modules or runs them again, as released",
    ),
)
EMA = (
    Option(
        name="copies",
        sets="leap.single",
        default="added",
        choices={"added": False, "single": True},
        help="trained copies with an averaged copy added to the first, or one set, trained and averaged",
    ),
    Option(
        name="momentum",
        sets="leap.momentum",
        default="0.995",
        pattern=_FRACTION,
        read=float,
        hint="0 to 1",
        help="of the moving average of the live weights",
    ),
    Option(
        name="ema_of",
        sets="leap.last_only",
        default="all",
        choices={"all": False, "last": True},
        help="auxiliary networks whose copies follow the live weights",
    ),
    Option(
        name="ema_at",
        sets="leap.before_step",
        default="after",
        choices={"after": False, "before": True},
        help="whether copies follow after the optimizer's step or before it",
    ),
)
_OWN = {"local_loss": "softmax", "head": "0c1f"}
_GAP_HEAD = Option(
    name=HEAD.name, sets=HEAD.sets, default="0c1f", choices=HEAD.choices, pattern=HEAD.pattern, help=HEAD.help
)
_SOURCE = "MLAAN (arXiv 2406.16633)"

MLAAN = Method(
    name="mlaan",
    summary="MLAAN: windows of modules (MLM) and auxiliary networks with copies of later units (LAM)",
    source=_SOURCE,
    begins=_OWN,
    begin_options=(LOSS, _GAP_HEAD, REDUCTION),
    sets={"cascade": Cascade(), "leap": Leap()},
    options=(*WINDOWS, *EMA),
    follows=True,
    needs_local_loss=True,
)
MLM = Method(
    name="mlm",
    summary="MLAAN's windows of modules alone",
    source=_SOURCE,
    begins=_OWN,
    begin_options=(LOSS, _GAP_HEAD, REDUCTION),
    sets={"cascade": Cascade()},
    options=WINDOWS,
    follows=True,
    needs_local_loss=True,
)
LAM = Method(
    name="lam",
    summary="MLAAN's auxiliary networks with copies of later units alone",
    source=_SOURCE,
    begins=_OWN,
    begin_options=(LOSS, _GAP_HEAD, REDUCTION),
    sets={"leap": Leap()},
    options=EMA,
    follows=True,
    needs_local_loss=True,
)
