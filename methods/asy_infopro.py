"""Asy-InfoPro: InfoPro's modules trained one after the other, each to completion on the outputs of the frozen ones.

Every module has the decoder, the head and the weights that it has in InfoPro; the last has the network's loss. So only
one module, its auxiliary networks and its input are needed at a time.

Source: Wang et al., InfoPro, ICLR 2021, asynchronous training (Table 2).
Departures: the paper says neither whether stored outputs are those of augmented images nor how frozen batch norms run.
Here frozen modules run in evaluation mode, in every step on fresh images (`cache=recompute`), or once, with outputs,
labels and augmented images kept on disk (`cache=store`); a round then trains on the passes that were stored.
"""

from dataclasses import replace

from methods.api import HEAD, LOSS, REDUCTION, WIDEN, Method, Option, Sequential
from methods.infopro import WEIGHTS, ZERO_WEIGHT

CACHE = Option(
    name="cache",
    sets="sequential.stored",
    default="recompute",
    choices={"recompute": False, "store": True},
    help="inputs of the module under training: computed in every step by the frozen ones, or stored on disk",
)

ASY_INFOPRO = Method(
    name="asy_infopro",
    summary="Asy-InfoPro: InfoPro's modules trained one after the other behind frozen ones",
    source="Wang et al., InfoPro (ICLR 2021) Table 2",
    begins={"decoder": True, "sequential": Sequential()},
    options=(replace(LOSS, variant=True), CACHE, HEAD, WIDEN, REDUCTION, WEIGHTS, ZERO_WEIGHT),
)
