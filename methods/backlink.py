"""BackLink: the loss of a module also trains the last layers of the module before it.

Module k ends in a link, its last l layers. The local loss trains the whole module; the loss of module k + 1 flows back
across the boundary, through the link of module k and no further. Gradients of both losses add up in the link. With a
link as long as the module, neighbouring modules overlap wholly. Everything else is DGL.

Source: Guo et al. 2022, arXiv 2205.07141 (abstract), and the remarks of ContSup (arXiv 2312.07636) Tables 9 and 12.
Departures: a reconstruction, because of the paper only the abstract was at hand. A layer is a convolution of the main
path (two are a basic block) or, with `unit=block`, a unit of the chain; units are not cut, so a link is the fewest
units that hold l layers, clipped to the module.
"""

from methods.api import HEAD, LOSS, REDUCTION, Link, Method, Option

BACKLINK = Method(
    name="backlink",
    summary="BackLink: every local loss also trains the last l layers of the module before",
    source="Guo et al. 2022 (arXiv 2205.07141); ContSup (arXiv 2312.07636) Tables 9, 12",
    begins={"local_loss": "softmax"},
    begin_options=(LOSS, HEAD, REDUCTION),
    sets={"link": Link()},
    options=(
        Option(
            name="l",
            sets="link.layers",
            default="4",
            variant=True,
            pattern=r"[1-9]\d*",
            read=int,
            hint="a whole number from 1",
            help="layers of the module before that a loss reaches, at most all of them",
        ),
        Option(
            name="unit",
            sets="link.unit",
            default="conv",
            choices={"conv": "conv", "block": "block"},
            help="what a layer is: a convolution of the main path, or a unit of the network",
        ),
    ),
    follows=True,
    needs_local_loss=True,
)
