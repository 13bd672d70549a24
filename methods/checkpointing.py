"""Gradient checkpointing: keep only the inputs of segments, recompute each segment during the backward.

The units of a module are cut into S consecutive segments by the equal-layer rule, or the chain is cut where one says:
in sizes, `8.8.12.k27`, where the activations of runs behind a `k` are kept, or where the memory of the case is least
(`balanced`). The forward stores segment inputs; the backward visits segments last to first and recomputes each with
gradients. Head and loss are not checkpointed.

Source: Chen et al. 2016, arXiv 1604.06174; measured beside InfoPro in its Table 3.
Departures: S is not published; 5 reproduces InfoPro's printed memory. Recomputation leaves running statistics alone, so
gradients and statistics equal end-to-end backprop.
"""

from methods.api import Method, Option
from partition.runs import BALANCED, Segments, parse_runs

_SIZE = r"[1-9]\d*"
_RUNS = rf"k{_SIZE}|k?{_SIZE}(\.k?{_SIZE})+"


def _read(text: str) -> Segments:
    return int(text) if text.isdecimal() else parse_runs(text)


CHECKPOINT = Method(
    name="checkpoint",
    summary="gradient checkpointing of the network or, behind +, inside every local module",
    source="Chen et al. 2016, arXiv 1604.06174; InfoPro (ICLR 2021) Table 3",
    options=(
        Option(
            name="segments",
            sets="segments",
            default="5",
            choices={BALANCED: BALANCED},
            pattern=rf"{_SIZE}|{_RUNS}",
            read=_read,
            hint="a whole number from 1|sizes such as 9.9.k9",
            help="segments per module, clipped to its units; balanced: those of least peak; or sizes over the chain, "
            "k: kept",
        ),
    ),
    follows=True,
)
