"""ContSup: local modules receive context - the image, or earlier features - besides the previous module's output.

Junction k adds to the detached output h_k of module k encodings of the image (`E`), of the inputs of the last n modules
(`Rn`), of i inputs spread over all modules before (`Mi`), or of several (`RnE`, `MiR1E`); the sum g_k is the input of
module k + 1. Context networks are trained by the following module's loss and stay at inference. Local heads read h_k,
before context is added. `R0` adds nothing and is DGL; from n = K - 1 on `Rn` is the fully connected topology.

Source: ContSup, arXiv 2312.07636, section 3; released code for the recurrences.
Departures: the image encoder's hidden width is 12, as released; the paper's table prints the target width
(`hidden=match`). Features are encoded with their context (g), as released; the printed formula is unreadable in our
copy (`source=raw` encodes h). At the first junction the source is the image, so `R1E` there adds the image encoder
alone and equals `E` at K = 2. Of [MiR1E] no code was released: the inputs are those at floor(k/2), or floor(k/3) and
floor(2k/3), of junction k, without repeats (our choice).
"""

import re

from methods.api import HEAD, LOSS, REDUCTION, STEP, WIDEN, Context, Method, Option

_PATTERN = r"R(0|[1-9]\d*)E?|E|M[12]R1E"


def read_context(text: str) -> Context:
    """`R2E`: image and the inputs of the last two modules; `M1R1E`: also one spread over the modules before."""
    middles, features = (re.search(rf"{letter}(\d+)", text) for letter in "MR")
    return Context(
        image=text.endswith("E"),
        features=int(features[1]) if features else 0,
        middles=int(middles[1]) if middles else 0,
    )


CONTEXT = Option(
    name="context",
    sets="context",
    default="R1E",
    variant=True,
    pattern=_PATTERN,
    read=read_context,
    hint="R0|E|R<n>|R<n>E|M1R1E|M2R1E",
    help="encoders at the junctions: of the image (E), of the inputs of the last n modules (Rn), of inputs spread over "
    "the modules before (Mi), none (R0)",
)
HIDDEN = Option(
    name="hidden",
    sets="context.hidden",
    default="12",
    choices={"12": 12, "match": None},
    help="width inside an image encoder: 12, as released, or that of its output, as printed",
)
SOURCE = Option(
    name="source",
    sets="context.raw",
    default="augmented",
    choices={"augmented": False, "raw": True},
    help="features are encoded with their own context added, or as their module gave them",
)

CONTSUP = Method(
    name="contsup",
    summary="ContSup: context from the image or earlier features at every junction, kept at inference",
    source="ContSup (arXiv 2312.07636)",
    options=(CONTEXT, LOSS, HEAD, WIDEN, REDUCTION, HIDDEN, SOURCE, STEP),
)
