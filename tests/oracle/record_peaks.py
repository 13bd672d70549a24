"""Writes the peaks that torch's CUDA allocator has in the third step of each case, for `test_simulate.py`.

Of a method in rounds these are the highest of the third steps of all rounds.

tests/oracle/hollow/run.sh DIR tests/oracle/record_peaks.py tests/bench/simulator/allocator_peaks.csv
tests/oracle/hollow/run.sh DIR tests/oracle/record_peaks.py tests/bench/simulator/allocator_peaks_networks.csv networks
"""

import csv
import sys
from pathlib import Path

from bench.cases import make_case
from bench.worker import measure_case_peaks

METHODS = ("greedy", "dgl", "infopro[softmax]", "infopro[contrast]", "contsup[E]", "contsup[R1]", "contsup[R1E]")
CASES = [
    *((method, "resnet32", 1, 1024) for method in ("e2e", "checkpoint")),
    *((method, "resnet32", modules, 1024) for method in METHODS for modules in (2, 8)),
    *((method, "resnet110", 1, 1024) for method in ("e2e", "checkpoint")),
    *((method, "resnet110", modules, 1024) for method in METHODS for modules in (4, 16)),
    ("dgl[step=per_module]", "resnet110", 16, 1024),
    ("infopro[contrast]+checkpoint[segments=3]", "resnet110", 4, 1024),
    ("contsup[R1E,loss=contrast]+decoder", "resnet110", 4, 1024),
    *(
        (method, "resnet32", 8, 1024)
        for method in (
            "contsup[R4]",
            "contsup[R2E]",
            "contsup[M1R1E]",
            "contsup[R2,source=raw]",
            "backlink[l=2]",
            "mlaan",
            "mlm[c=3]",
            "lam",
            "mlaan[forwards=repeat]",
            "infopro[contrast]+mlaan",
        )
    ),
    ("backlink[l=4]", "resnet110", 4, 1024),
    ("contsup[E]+backlink[l=4]", "resnet110", 4, 1024),
    ("mlaan+checkpoint[segments=2]", "resnet110", 4, 1024),
    ("e2e", "resnet110@96", 1, 128),
    ("infopro[softmax]", "resnet110@96", 4, 128),
    *(
        (method, "resnet32", 4, 1024)
        for method in (
            "greedy_plus",
            "asy_infopro[softmax]",
            "asy_infopro[contrast,cache=store]",
            "asy_infopro[contrast]+checkpoint[segments=2]",
            "boostresnet",
            "dib",
        )
    ),
    ("asy_infopro[contrast]", "resnet110", 2, 1024),
]
NETWORKS = [
    ("e2e", "densenet_bc_100_12", 1, 256),
    ("infopro[contrast]", "densenet_bc_100_12", 4, 256),
    ("e2e", "vgg11_bn", 1, 1024),
    ("dgl[head=mlp-sr]", "vgg11_bn", 4, 1024),
    ("e2e", "resnet34", 1, 128),
    ("dgl", "resnet34", 17, 128),
    ("e2e", "resnet101", 1, 128),
    ("infopro[softmax,widen=1.5]", "resnet101", 2, 128),
    ("infopro[softmax]", "resnext101_32x8d", 2, 64),
    ("e2e", "deeplabv3_resnet101", 1, 4),
    ("checkpoint", "deeplabv3_resnet101", 1, 4),
    ("infopro[softmax]", "deeplabv3_resnet101", 2, 4),
    ("contsup[R1E]", "deeplabv3_resnet101@160x96", 3, 4),
]
"""The other backbones, without workspaces alone."""
KINDS = ("requested", "allocated", "reserved")


def read_peaks(method: str, network: str, modules: int, batch: int) -> list[int]:
    """Bytes of each kind in the third step."""
    case = make_case(method=method, network=network, module_count=modules, batch_size=batch)
    peaks = measure_case_peaks(case, print)["steady"]
    return [peaks[kind] for kind in KINDS]


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "network", "modules", "batch", *(f"{kind}_bytes" for kind in KINDS)])
        for one in NETWORKS if sys.argv[2:] == ["networks"] else CASES:
            writer.writerow([*one, *read_peaks(*one)])
