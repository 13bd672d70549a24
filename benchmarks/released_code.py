"""Released code of the papers beside this package's: peak memory and time of the same training step on one device.

    git clone https://github.com/blackfeather-wang/InfoPro-Pytorch PATH
    python benchmarks/released_code.py --method infopro --code PATH

The released network is imported from your checkout and trained as its script does: gradients are cleared, its forward
runs every local backward, one SGD updates. Both sides have the network, K, boundaries, losses, batch and optimizer of a
case, and run under the same torch. `DataParallel`, which its scripts wrap the network in, calls it directly on one
device, so it is left out. `.cuda()` in its constructor means the device at hand.

On `cuda`, peaks are `max_memory_allocated` of the third step, each side in a process of its own, and times are paired
(ABBA) in a third. On `simulated`, peaks are simulated, and times are taken on the CPU at `--time-batch`, all in this
process.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn

from bench.cases import make_case
from bench.environment import read_uuid
from bench.isolate import Outcome, run_isolated
from bench.isolated import Report, describe
from bench.probes.limits import Limits
from bench.probes.machine import Cpu, Cuda
from bench.probes.memory import KINDS, Peaks, measure_peaks
from bench.probes.nvml import open_gpu
from bench.probes.timing import time_pairs
from bench.simulator.model import read_model
from bench.simulator.simulate import META, simulate_step
from bench.training import SEED, build_training
from bench.workloads.data import synthetic_batch
from methods.datasets import get_dataset
from methods.published_weights import published_weights
from reports.units import format_gib
from results.record import Case
from results.statistics import paired_ratio

ROOT = Path(__file__).parents[1]
BATCH = 1024
TIME_BATCH = 8
SECONDS = 600.0
"""For each process on CUDA."""
LIMITS = Limits(maximum_pairs=60, maximum_seconds=30.0)
Step = Callable[[], object]


class ReleasedCodeError(ValueError):
    """A folder that is no checkout of the released code."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One configuration, as either side names it."""

    network: str
    module_count: int
    method: str
    """Ours."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the released network, beside those of its script."""

    @property
    def label(self) -> str:
        """For a table."""
        return f"{self.network} K={self.module_count} {self.method.partition(',')[0].rstrip(']')}]"


@dataclass(frozen=True, slots=True)
class Released:
    """Code of a paper."""

    repository: str
    folder: str
    """In a checkout, from which the module is imported."""
    module: str
    cases: tuple[Compared, ...]


_SOFTMAX, _CONTRAST = {"local_loss_mode": "cross_entropy"}, {"local_loss_mode": "contrast"}
_INFOPRO = (("resnet32", 4), ("resnet32", 16), ("resnet110", 2), ("resnet110", 4), ("resnet110", 16))
_CONTSUP = (
    ("resnet32", 8, "R0"), ("resnet32", 8, "E"), ("resnet32", 8, "R1"), ("resnet32", 8, "R4"), ("resnet32", 16, "R0"),
    ("resnet32", 16, "E"), ("resnet32", 16, "R1E"), ("resnet32", 16, "R16"), ("resnet110", 16, "R1E"),
)  # fmt: skip
_AS_RELEASED = "alone=later,forwards=repeat,ema_of=last,ema_at=before"
RELEASED = {
    "infopro": Released(
        "github.com/blackfeather-wang/InfoPro-Pytorch",
        "Experiments on CIFAR-SVHN-STL10",
        "networks.resnet",
        (
            *(Compared(name, count, "infopro[softmax,zero_weight=run]", _SOFTMAX) for name, count in _INFOPRO),
            *(Compared(name, count, "infopro[contrast,zero_weight=run]", _CONTRAST) for name, count in _INFOPRO[-2:]),
        ),
    ),
    "contsup": Released(
        "github.com/Tab-ct/ContSup",
        ".",
        "networks_dev.resnet",
        tuple(
            Compared(name, count, f"contsup[{mode}]", {**_SOFTMAX, "context_mode": mode})
            for name, count, mode in _CONTSUP
        ),
    ),
    "mlaan": Released(
        "github.com/Wendy231015/MLAAN",
        "CIFAR-SVHN-STL",
        "networks.resnetMLAAN",
        tuple(
            Compared(name, count, f"mlaan[c=2,{_AS_RELEASED}]", {**_SOFTMAX, "momentum": 0.995})
            for name, count in (("resnet32", 8), ("resnet32", 15), ("resnet110", 54))
        ),
    ),
}
"""By method."""


# --- the two sides ----------------------------------------------------------------------------------------------------


def find_module(released: Released, code: Path) -> Any:
    """The released networks, imported from a checkout.

    Raises:
        ReleasedCodeError: they are not there, or cannot be imported.
    """
    folder = code / released.folder
    file = folder.joinpath(*released.module.split(".")).with_suffix(".py")
    if not file.is_file():
        raise ReleasedCodeError(
            f"no released code at {code}: there is no {file.relative_to(code)}; "
            f"clone https://{released.repository} and pass its folder"
        )
    package = released.module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]  # of another checkout: they all say `networks`
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(released.module)
    except Exception as error:
        raise ReleasedCodeError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _cuda_means(device: torch.device) -> Iterator[None]:
    """While it lasts, `.cuda()` moves to a device: as on CUDA, an expanded tensor becomes one with bytes of its own."""

    def move(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        return tensor.to(device) if device.type != "cpu" else tensor.clone()

    with patch.object(Tensor, "cuda", move), patch.object(nn.Module, "cuda", lambda module, *_: module.to(device)):
        yield


def build_released(
    compared: Compared, released: Released, code: Path, batch_size: int, device: torch.device
) -> tuple[Step, nn.Module, torch.optim.Optimizer, Tensor, Tensor]:
    """The released network's training step, and what it uses."""
    make = getattr(find_module(released, code), compared.network)
    torch.manual_seed(SEED)
    with _cuda_means(device), torch.device(device):
        network = make(local_module_num=compared.module_count, batch_size=batch_size, **compared.options).to(device)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images, labels = synthetic_batch(get_dataset("cifar10"), (32, 32), batch_size, device, seed=SEED)
    weights = published_weights("cifar10", compared.network, compared.module_count, equal_split=True)
    scales = dict(zip(("ixx_1", "ixy_1", "ixx_2", "ixy_2"), (*weights.first, *weights.last), strict=True))
    outputs: Any = None

    def step() -> None:
        nonlocal outputs
        optimizer.zero_grad()
        outputs = network(img=images, target=labels, **scales)
        optimizer.step()

    return step, network, optimizer, images, labels


def our_case(compared: Compared, batch_size: int) -> Case:
    """The same configuration of this package."""
    return make_case(
        method=compared.method,
        network=compared.network,
        dataset="cifar10",
        module_count=compared.module_count,
        split="released",
        batch_size=batch_size,
    )


def build_side(
    side: str, method: str, number: int, code: str, batch_size: int, device: torch.device
) -> tuple[Step, *tuple[Any, ...]]:
    """The step of `released` or `ours`, and what it uses."""
    released = RELEASED[method]
    compared = released.cases[number]
    if side == "released":
        return build_released(compared, released, Path(code), batch_size, device)
    training = build_training(our_case(compared, batch_size), device)
    return training.step, training.network, *training.optimizers, *training.next_batch()


# --- what isolated processes do ---------------------------------------------------------------------------------------


def find_peaks(side: str, method: str, number: int, code: str, batch_size: int, device: str, report: Report) -> Peaks:
    """Peaks of the steady step of a side."""
    report(f"memory of {side}")
    if device == "simulated":
        peak = simulate_step(lambda: build_side(side, method, number, code, batch_size, META), read_model()).steady
        return {kind: getattr(peak, f"{kind}_bytes") for kind in KINDS}
    cuda = torch.device("cuda")
    step, *used = build_side(side, method, number, code, batch_size, cuda)
    _, steady = measure_peaks(step, cuda)
    del used
    return steady


def time_sides(
    method: str, number: int, code: str, batch_size: int, device: str, report: Report
) -> tuple[float, float | None, float | None]:
    """Our time over the released code's: median of paired steps, and its 95 % interval."""
    report("time")
    place = torch.device("cuda" if device == "cuda" else "cpu")
    ours, theirs = (build_side(side, method, number, code, batch_size, place)[0] for side in ("ours", "released"))
    machine: Any = Cpu()
    if device == "cuda":
        gpu = open_gpu(read_uuid(place))
        machine = Cuda(place, None if isinstance(gpu, str) else gpu)
    samples = time_pairs(ours, theirs, LIMITS, machine)
    ratio = paired_ratio(samples.seconds, samples.reference_seconds or (), 2 * samples.block_step_count)
    return ratio.median, ratio.low, ratio.high


# --- the table --------------------------------------------------------------------------------------------------------


def _call(function: Callable[..., Any], *arguments: object, device: str) -> Outcome:
    """Call in a new process on CUDA, where one training must not find what another left, else here."""
    if device == "cuda":
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        name = f"benchmarks.released_code:{function.__name__}"
        return run_isolated(name, *arguments, device, time_limit=SECONDS, variables={"PYTHONPATH": path})
    try:
        return Outcome(status="ok", result=function(*arguments, device, lambda _: None), seconds=0.0)
    except Exception as error:  # noqa: BLE001 - a case that fails is a row
        return Outcome(status="failed", message=describe(error), phase=function.__name__, seconds=0.0)


def write_ratio(outcome: Outcome) -> str:
    """A time ratio with its interval."""
    if outcome.status != "ok":
        return outcome.status
    middle, low, high = outcome.result
    return f"{middle:.2f}" if low is None else f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main(
    method: Annotated[str, typer.Option(help=f"whose code: {', '.join(RELEASED)}")],
    code: Annotated[Path, typer.Option(help="checkout of it")],
    device: Annotated[str, typer.Option(help="simulated or cuda")] = "simulated",
    batch: Annotated[int, typer.Option(help="images in a step")] = BATCH,
    time_batch: Annotated[int | None, typer.Option(help="in a step that is timed; 0: none is timed")] = None,
    only: Annotated[str, typer.Option(help="words of a case's name")] = "",
) -> None:
    """Compare released code with this package's."""
    console = Console(width=80)
    if method not in RELEASED:
        raise typer.BadParameter(f"no code was released for '{method}', or none is known: {', '.join(RELEASED)}")
    if device not in ("simulated", "cuda"):
        raise typer.BadParameter(f"no device '{device}': simulated or cuda")
    released = RELEASED[method]
    try:
        find_module(released, code)
    except ReleasedCodeError as error:
        raise typer.BadParameter(str(error)) from error
    if time_batch is None:
        time_batch = batch if device == "cuda" else TIME_BATCH
    table = Table(title=f"{released.repository}, {device}, batch {batch}", box=None, min_width=78)
    for header, side in (("case", "left"), ("released", "right"), ("ours", "right"), ("ratio", "right")):
        table.add_column(header, justify=side, no_wrap=True)  # pyright: ignore[reportArgumentType]
    table.add_column("time ratio", justify="right", no_wrap=True)
    notes: list[str] = []
    for number, compared in enumerate(released.cases):
        if not all(word in compared.label for word in only.split()):
            continue
        given = (method, number, str(code))
        sides = [_call(find_peaks, side, *given, batch, device=device) for side in ("released", "ours")]
        time = _call(time_sides, *given, time_batch, device=device) if time_batch else None
        peaks = [side.result["allocated"] if side.status == "ok" else None for side in sides]
        theirs, own = peaks
        ratio = f"{own / theirs:.3f}" if own and theirs else "-"
        shown = [format_gib(peak) if peak else side.status for peak, side in zip(peaks, sides, strict=True)]
        table.add_row(escape(compared.label), *shown, ratio, write_ratio(time) if time else "-")
        failed = [each for each in (*sides, time) if each is not None and each.status != "ok"]
        notes += [f"{compared.label}: {each.phase}: {each.message}" for each in failed]
    console.print(table)
    timed = (
        f"; times are of batch {time_batch} on {'the GPU' if device == 'cuda' else 'this CPU'}" if time_batch else ""
    )
    console.print(f"Peaks are allocated GiB of the steady step{timed}; ratios are ours over released.")
    for note in notes:
        console.print(note, markup=False)


if __name__ == "__main__":
    typer.run(main)
