"""Boundaries that authors placed by hand beside the solver's, under torch's own allocator.

    tests/oracle/hollow/run.sh DIR docs/hand_placed.py     run every split on the device at hand, rewrite the CSV

The peaks come from `torch.cuda.max_memory_allocated`, not from the simulator that the solver asks.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.balancer import Balancer
from bench.cases import make_case
from bench.splits import find_split
from bench.worker import measure_case_peaks
from bench.workloads.networks import get_network
from docs.tables import write_table
from reports.units import format_change, format_gib

RECORDED = Path(__file__).with_suffix(".csv")
COLUMNS = ("method", "network", "batch", "placed_by", "theirs", "ours", "their_bytes", "our_bytes")


@dataclass(frozen=True, slots=True)
class HandPlaced:
    """A split of somebody's code."""

    method: str
    network: str
    batch_size: int
    module_count: int
    placed_by: str
    splits: tuple[str, ...]
    """Last units; several where only the shape at the boundary was published: the best of them counts as theirs."""


def _stage(network: str, stage: int) -> tuple[str, ...]:
    """Every unit of a stage as the boundary between two modules."""
    names = [name.removeprefix("layer") for name in get_network(network).unit_names]
    return tuple(name for name in names if name.startswith(f"{stage}."))


INFOPRO, INFOPRO_RULE = "InfoPro, for memory", "InfoPro"
BOUNDARIES = (
    # `InfoPro_balanced_memory` and the unbalanced lists of InfoPro's configuration, as a copy of that file has them.
    HandPlaced("infopro[contrast]", "resnet110", 1024, 2, INFOPRO, ("1.14",)),
    HandPlaced("infopro[contrast]", "resnet110", 1024, 3, INFOPRO, ("1.9,2.2",)),
    HandPlaced("infopro[contrast]", "resnet110", 1024, 4, INFOPRO, ("1.6,1.14,2.8",)),
    HandPlaced("infopro[contrast]", "resnet110@96", 128, 2, INFOPRO, ("1.14",)),
    HandPlaced("infopro[contrast]", "resnet110@96", 128, 3, INFOPRO, ("1.8,2.1",)),
    HandPlaced("infopro[contrast]", "resnet110@96", 128, 4, INFOPRO, ("1.6,1.14,2.8",)),
    # The papers print the shape at the boundary: 512x28x28, and 1024 x H/8 x W/8.
    *(
        HandPlaced("infopro[softmax]", name, 32, 2, f"{INFOPRO}, some unit of stage 2", _stage(name, 2))
        for name in ("resnet101", "resnet152", "resnext101_32x8d")
    ),
    HandPlaced("infopro[softmax]", "deeplabv3_resnet101", 2, 2, f"{INFOPRO}, some unit of stage 3",
               _stage("deeplabv3_resnet101", 3)),
    HandPlaced("infopro[contrast]", "resnet110", 1024, 2, INFOPRO_RULE, ("released",)),
    HandPlaced("infopro[contrast]", "resnet110", 1024, 3, INFOPRO_RULE, ("released",)),
    HandPlaced("contsup[R1E]", "resnet32", 1024, 3, "ContSup", ("released",)),
    *(HandPlaced("contsup[R1E]", "resnet110", 1024, count, "ContSup", ("released",)) for count in (4, 8, 16)),
    HandPlaced("dgl", "resnet110", 1024, 32, "MLAAN, its list for 32", ("released",)),
    HandPlaced("dgl", "resnet34", 128, 16, "MLAAN, every block", ("released",)),
    HandPlaced("dgl", "resnet152", 32, 2, "DGL", ("released",)),
)  # fmt: skip


def record() -> None:
    """Run theirs and ours on the CUDA device at hand, and write the CSV."""
    with RECORDED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for hand in BOUNDARIES:
            case = make_case(method=hand.method, network=hand.network, batch_size=hand.batch_size)
            balancer = Balancer(case)
            network = get_network(hand.network)
            given = [find_split(text, network, hand.module_count) for text in hand.splits]
            # Their unknown unit is the one that serves them best.
            theirs = min(given, key=lambda split: balancer.evaluate(split).predicted_peak_bytes)
            ours = balancer.verify(balancer.least_peak(hand.module_count)).split
            peaks = [_measure(hand, str(split)) for split in (theirs, ours)]
            writer.writerow(
                [hand.method, hand.network, hand.batch_size, hand.placed_by, str(theirs), str(ours), *peaks]
            )
            file.flush()


def _measure(hand: HandPlaced, split: str) -> int:
    """Peak allocated bytes of the third step on the CUDA device."""
    case = make_case(
        method=hand.method,
        network=hand.network,
        batch_size=hand.batch_size,
        module_count=hand.module_count,
        split=split,
    )
    return measure_case_peaks(case, lambda _: None)["steady"]["allocated"]


def read_recorded() -> list[dict[str, str]]:
    """Rows of the CSV by the names of `COLUMNS`."""
    with RECORDED.open(newline="") as file:
        return list(csv.DictReader(file))


def hand_placed() -> str:
    """The table of `docs/splits.md`."""
    rows = []
    for row in read_recorded():
        theirs, ours = int(row["their_bytes"]), int(row["our_bytes"])
        rows.append(
            [
                f"`{row['method']}`",
                f"{row['network']}, {row['batch']}",
                row["placed_by"],
                _short(row["theirs"]),
                _short(row["ours"]),
                format_gib(theirs),
                format_gib(ours),
                "same split" if row["theirs"] == row["ours"] else format_change(ours / theirs - 1),
            ]
        )
    heads = ["method", "network, batch", "placed by", "theirs", "ours", "theirs GiB", "ours GiB", "difference"]
    return write_table(heads, rows)


def _short(sizes: str) -> str:
    return f"`{sizes}`" if len(sizes) <= 18 else f"`{sizes[:14]}..`"  # noqa: PLR2004 - a narrow column


if __name__ == "__main__":
    sys.exit(record())
