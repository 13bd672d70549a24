"""The papers' memory tables recomputed: every printed cell beside the simulated one, with one constant per paper."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from docs.simulations import Asked, answer, peak_gib
from docs.tables import write_table
from reports.offsets import Fit, fit_offset
from reports.published import printed_memory

READINGS = ("least", "allocated", "reserved")
VARIANTS = [(reading, workspace) for reading in READINGS for workspace in ("none", "table")]
"""Reading of the peak, and source of convolution workspaces."""
NAMES = {"ResNet-32": "resnet32", "ResNet-110": "resnet110", "ResNet-34": "resnet34", "ResNet-101": "resnet101",
         "ResNet-152": "resnet152"}  # fmt: skip
DATASETS = {"CIFAR-10": "cifar10", "STL-10": "stl10", "ImageNet": "imagenet"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One printed number and the case we take it for."""

    dataset: str
    network: str
    method: str
    printed_modules: str
    """Dataset, network, method and K as the paper prints them."""
    spec: str
    module_count: int = 1
    split: str = "equal"
    batch_size: int = 1024

    def asked(self, workspace: str = "none") -> Asked:
        """The case."""
        return Asked(
            method=self.spec,
            network=NAMES[self.network],
            dataset=DATASETS[self.dataset],
            module_count=self.module_count,
            split=self.split,
            batch_size=self.batch_size,
            workspace=workspace,
            least=True,
        )


def _infopro(dataset: str, method: str, spec: str, batch_size: int, splits: Sequence[str]) -> list[Cell]:
    """Boundaries were placed by hand and not printed; these are the ones of least peak (`peakbench split`)."""
    e2e = Cell(dataset, "ResNet-110", "E2E", "1", "e2e", batch_size=batch_size)
    cells = [e2e, replace(e2e, method="Gradient checkpointing", printed_modules="", spec="checkpoint")]
    for split in splits:
        count = split.count(",") + 1
        cells.append(Cell(dataset, "ResNet-110", method, str(count), spec, count, split, batch_size))
    return cells


def _contsup() -> list[Cell]:
    modes = ("R0", "E", "R1", "R2", "R4", "R8", "R16")
    return [
        Cell("CIFAR-10", "ResNet-32", "DGL (R0)" if mode == "R0" else f"ContSup[{mode}]", str(k), f"contsup[{mode}]", k)
        for k in (8, 16)
        for mode in modes
        if (mode, k) != ("R16", 8)
    ]


def _mlaan(dataset: str, networks: dict[str, int], batch_size: int, spec: str) -> list[Cell]:
    """Printed as one module more: the released code merges the stem into the first block."""
    cells = []
    for network, count in networks.items():
        e2e = Cell(dataset, network, "E2E (BP)", "1", "e2e", batch_size=batch_size)
        cells += [
            e2e,
            replace(
                e2e, method="MLAAN", printed_modules=str(count + 1), spec=spec, module_count=count, split="merge_stem"
            ),
        ]
    return cells


_SMALL, _LARGE = {"ResNet-32": 15, "ResNet-110": 54}, {"ResNet-34": 16, "ResNet-101": 33, "ResNet-152": 50}
TABLES: dict[str, list[Cell]] = {
    "InfoPro Table 3": [
        *_infopro("CIFAR-10", "InfoPro* (contrast)", "infopro[contrast]", 1024, ("16,39", "11,12,32", "9,8,12,26")),
        *_infopro("STL-10", "InfoPro* (softmax)", "infopro[softmax]", 128, ("16,39", "11,12,32", "8,8,12,27")),
    ],
    "ContSup Table 4": _contsup(),
    "MLAAN Table 3": _mlaan("CIFAR-10", _SMALL, 1024, "mlaan[forwards=repeat]"),
    "MLAAN Table 3, ImageNet": _mlaan("ImageNet", _LARGE, 128, "mlaan[c=3,forwards=repeat]"),
}
"""Cells that share a constant."""
GROUPS = {
    **TABLES,
    "InfoPro Table 3, CIFAR-10": TABLES["InfoPro Table 3"][:5],
    "InfoPro Table 3, STL-10": TABLES["InfoPro Table 3"][5:],
}
"""The same, and parts of them."""
SHARED = _mlaan("CIFAR-10", _SMALL, 1024, "mlaan")[1::2]
"""MLAAN as this package runs it by default."""


def variants(table: str) -> list[tuple[str, str]]:
    """Definitions of the peak that are tried; workspaces are small beside ImageNet's residuals."""
    return [(reading, workspace) for reading, workspace in VARIANTS if workspace == "none" or "ImageNet" not in table]


def wanted() -> list[Asked]:
    """Every case these tables need."""
    cells = [cell.asked(workspace) for table in TABLES for _, workspace in variants(table) for cell in TABLES[table]]
    return cells + [cell.asked() for cell in SHARED]


def printed(table: str, cell: Cell) -> float:
    """GB of a cell."""
    return printed_memory(
        table.split(",", maxsplit=1)[0], cell.dataset, cell.network, cell.method, cell.printed_modules
    )


def fit(table: str, reading: str, workspace: str) -> Fit:
    """The constant of a table for one definition of the peak."""
    cells = GROUPS[table]
    return fit_offset([printed(table, c) for c in cells], [peak_gib(c.asked(workspace), reading) for c in cells])


def definitions() -> str:
    """Constant and residuals of every table, by what is taken for the peak."""
    rows = []
    for table in sorted(GROUPS):
        for reading, workspace in variants(table):
            fitted = fit(table, reading, workspace)
            rows.append(
                [table, reading, workspace, f"{fitted.offset:.2f}", f"{fitted.middle:.2f}", f"{fitted.worst:.2f}"]
            )
    return write_table(["cells", "peak", "workspaces", "constant GiB", "median residual", "largest"], rows)


def cells() -> str:
    """Every cell with what its paper's constant leaves."""
    rows = []
    for table, members in TABLES.items():
        workspace = variants(table)[-1][1]
        fitted = {reading: fit(table, reading, workspace) for reading in READINGS}
        for place, cell in enumerate(members):
            rows.append([
                table.split(",", maxsplit=1)[0], cell.dataset, cell.network, cell.method, cell.printed_modules or "-",
                f"`{cell.spec}`", str(cell.batch_size), f"{printed(table, cell):.2f}",
                *(text for reading in fitted for text in (
                    f"{peak_gib(cell.asked(workspace), reading):.2f}", f"{fitted[reading].residuals[place]:+.2f}")),
            ])  # fmt: skip
    return write_table(
        [
            "table",
            "data",
            "network",
            "printed",
            "K",
            "ours",
            "batch",
            "GB",
            "least",
            "left",
            "allocated",
            "left",
            "reserved",
            "left",
        ],
        rows,
    )


def shared() -> str:
    """MLAAN's cells with forwards shared: what the released code's repeated ones cost."""
    rows = []
    for cell in SHARED:
        repeat = replace(cell, spec="mlaan[forwards=repeat]")
        ours, theirs = (peak_gib(each.asked()) for each in (cell, repeat))
        flops, again = (answer(each.asked()).readings.training_flops or 0 for each in (cell, repeat))
        rows.append([cell.network, f"{ours:.2f}", f"{theirs:.2f}", f"{flops / 1e12:.2f}", f"{again / 1e12:.2f}"])
    return write_table(
        ["network", "GiB, forwards=share", "GiB, forwards=repeat", "TFLOP a step, share", "repeat"], rows
    )
