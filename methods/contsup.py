"""ContSup: local modules receive context - the image, or earlier features - besides the previous module's output.

Junction k adds to the detached output h_k of module k an encoding of the image (`E`), of the input of module k (`R1`),
or both (`R1E`); the sum g_k is the input of module k + 1. Context networks are trained by the following module's loss
and stay at inference. Local heads read h_k, before context is added. `R0` adds nothing and is DGL.

Source: ContSup, arXiv 2312.07636, section 3; released code for the recurrences.
Departures: the image encoder's hidden width is 12, as released (the paper's table prints the target width). The
feature source is the augmented input g, as released; at the first junction it is the image, so `R1E` there adds the
image encoder alone and equals `E` at K = 2.
"""

from methods.api import HEAD, LOSS, REDUCTION, STEP, WIDEN, Context, Method, Option

CONTEXT = Option(
    name="context",
    sets="context",
    default="R1E",
    variant=True,
    choices={
        "R0": None,
        "E": Context(image=True),
        "R1": Context(features=1),
        "R1E": Context(image=True, features=1),
    },
    help="encoders at the junctions: of the image (E), of the previous module's input (R1), none (R0)",
)

CONTSUP = Method(
    name="contsup",
    summary="ContSup: context from the image or earlier features at every junction, kept at inference",
    source="ContSup (arXiv 2312.07636)",
    options=(CONTEXT, LOSS, HEAD, WIDEN, REDUCTION, STEP),
)
