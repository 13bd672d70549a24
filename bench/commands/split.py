"""`peakbench split`: the best boundaries of a network under a method, with proof, and what else there is to choose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from bench.cases import CaseError, make_case
from bench.commands import options
from bench.commands.simulate import read_bytes
from bench.commands.split_curve import print_all, print_searched
from bench.commands.split_modules import print_one
from bench.commands.split_segments import print_segments
from methods.registry import read_spec

if TYPE_CHECKING:
    from bench.simulator.model import Model
    from results.record import Case


def split(
    network: Annotated[str, typer.Argument(help="Backbone; see `peakbench networks`.", show_default=False)],
    method: Annotated[str, typer.Option(help="Method spec; see `peakbench methods`.")] = "infopro[softmax]",
    modules: Annotated[str, typer.Option(help="K, the number of local modules, or all.")] = "all",
    budget: Annotated[str | None, typer.Option(help="Most memory, such as 4GiB: the fewest modules that fit.")] = None,
    least_overhead: Annotated[
        bool, typer.Option("--least-overhead", help="With --budget: any number of modules, the least added FLOPs.")
    ] = False,
    segments: Annotated[
        int | None,
        typer.Option(min=1, metavar="COUNT", help="With --method checkpoint: how many; any number by default."),
    ] = None,
    dataset: options.Dataset = None,
    batch: options.Batch = 1024,
    precision: options.Precision = "float32",
    memory_format: options.MemoryFormat = "contiguous",
    optimizer: options.Optimizer = None,
    tf32: options.Tf32 = True,
    cudnn_benchmark: options.CudnnBenchmark = False,
    allocator: options.Allocator = "",
    device_profile: options.DeviceProfile = "H200",
    workspace: options.Workspace = "none",
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the modules' memory, or the peak by K, as .png, .svg or .pdf as well."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    _plugin: options.PluginFiles = None,
) -> None:
    """The split of least peak memory into K modules, for every K, or for a budget; or segments to checkpoint.

    Example:  peakbench split resnet110 --method 'infopro[softmax]' --modules 4

    Example:  peakbench split resnet110 --method 'contsup[R1E]' --budget 2GiB

    Example:  peakbench split resnet110 --method checkpoint --budget 1.5GiB

    Example:  peakbench split resnet110 --method 'dgl+checkpoint[balanced]' --modules 4

    Example:  peakbench split resnet110 --modules 4 --figure modules.svg
    """
    count, budget_bytes, places_segments = _read_count(modules), read_bytes(budget), _places_segments(method)
    wrongs = (
        (
            budget is not None and count is not None,
            "a budget decides the number of modules: leave out --modules or --budget",
        ),
        (least_overhead and budget is None, "--least-overhead needs a --budget: without one, one module adds nothing"),
        (
            segments is not None and (not places_segments or budget is not None),
            "--segments goes with --method checkpoint, and without a --budget, which decides their number",
        ),
        (
            places_segments and (count or 1) > 1,
            "checkpointing trains the network as one module: use --segments instead of --modules",
        ),
    )
    for wrong, why in wrongs:
        if wrong:
            raise CaseError(why)
    case = make_case(
        method=method,
        network=network,
        dataset=dataset,
        module_count=count or 1,
        batch_size=batch,
        precision=precision,
        memory_format=memory_format,
        tf32=tf32,
        cudnn_benchmark=cudnn_benchmark,
        allocator=allocator,
        optimizer=optimizer,
    )
    from bench.balance import find_balancer  # noqa: PLC0415 - torch only once the case is right
    from bench.simulated_search import search_within  # noqa: PLC0415
    from bench.simulator.model import read_model  # noqa: PLC0415

    model = read_model(device_profile, workspace=workspace)
    if places_segments:
        print_segments(case, model, figure, count=segments, budget_bytes=budget_bytes, as_json=as_json)
        return
    balancer = find_balancer(case, model)
    if budget_bytes is not None:
        if balancer is None:
            found = search_within(case, budget_bytes, model, least_overhead=least_overhead)
        else:
            found = balancer.verify_within(budget_bytes, least_overhead=least_overhead)
        print_one(case, found, balancer, figure, as_json=as_json, budget_bytes=budget_bytes)
    elif balancer is None:
        _search(case, model, figure, count=count, as_json=as_json)
    elif count is None:
        print_all(case, balancer, figure, as_json=as_json)
    else:
        print_one(case, balancer.verify(balancer.least_peak(count)), balancer, figure, as_json=as_json)


def _search(case: "Case", model: "Model", figure: Path | None, *, count: int | None, as_json: bool) -> None:
    """The best of a few simulated splits into one number of modules, or into several."""
    from bench.simulated_search import search_by_simulation, search_counts  # noqa: PLC0415 - as above

    if count is not None:
        print_one(case, search_by_simulation(case, model), None, figure, as_json=as_json)
    else:
        console = Console(stderr=True)
        hidden = as_json or not console.is_terminal
        found = [*track(search_counts(case, model), "splits", console=console, disable=hidden, transient=True)]
        print_searched(case, found, figure, as_json=as_json)


def _places_segments(method: str) -> bool:
    """Whether a method checkpoints a network that is one module."""
    parts = read_spec(method).parts
    return parts.local_loss is None and parts.segments is not None


def _read_count(text: str) -> int | None:
    if text.strip() == "all":
        return None
    if not text.strip().isdecimal():
        raise CaseError(f"--modules is a whole number or 'all', not '{text}'")
    return int(text)
