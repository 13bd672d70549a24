"""Gradient checkpointing: keep only the inputs of S segments, recompute each segment during the backward.

The units of a module are cut into S consecutive segments by the equal-layer rule. The forward stores segment inputs;
the backward visits segments last to first and recomputes each with gradients. Head and loss are not checkpointed.

Source: Chen et al. 2016, arXiv 1604.06174; measured beside InfoPro in its Table 3.
Departures: S is not published; 5 reproduces InfoPro's printed memory. Recomputation leaves running statistics alone, so
gradients and statistics equal end-to-end backprop.
"""

from methods.api import Method, Option

CHECKPOINT = Method(
    name="checkpoint",
    summary="gradient checkpointing of the network or, behind +, inside every local module",
    source="Chen et al. 2016, arXiv 1604.06174; InfoPro (ICLR 2021) Table 3",
    options=(
        Option(
            name="segments",
            sets="segments",
            default="5",
            pattern=r"[1-9]\d*",
            read=int,
            hint="a whole number from 1",
            help="segments per module, clipped to its units",
        ),
    ),
    follows=True,
)
