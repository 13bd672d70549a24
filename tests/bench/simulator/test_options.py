"""Cases under other options than the papers': number formats, TF32, memory formats, optimizers, cudnn.benchmark.

`option_peaks.csv` holds what torch 2.15's CUDA allocator said of the first and the third step of each case on the
stand-in of `tests/oracle`; `option_peaks_H200.csv` the same with the plans and workspaces of cuDNN 9.26 for an H200.
"""

import csv
from pathlib import Path

import pytest
import torch

from bench.cases import make_case
from bench.simulator.cudnn_query import CudnnMissingError, library_version
from bench.simulator.simulate import simulate_case
from bench.training import build_training
from tests.bench.simulator.recorded import recorded_on

FOLDER = Path(__file__).parent
TRUTH = {"True": True, "False": False}
RECORDED = [
    (workspace, row)
    for workspace, file in (("none", "option_peaks.csv"), ("table", "option_peaks_H200.csv"))
    for row in csv.DictReader((FOLDER / file).read_text().splitlines())
]
KINDS = ("requested", "allocated", "reserved")


def case_of(row):
    return make_case(
        method=row["method"],
        network=row["network"],
        module_count=int(row["module_count"]),
        batch_size=int(row["batch_size"]),
        precision=row["precision"],
        tf32=TRUTH[row["tf32"]],
        memory_format=row["memory_format"],
        cudnn_benchmark=TRUTH[row["cudnn_benchmark"]],
        optimizer=row["optimizer"],
    )


def peaks_of(simulation):
    steps = {"first": simulation.first, "steady": simulation.steady}
    return {f"{step}_{kind}": getattr(peak, f"{kind}_bytes") for step, peak in steps.items() for kind in KINDS}


@pytest.mark.parametrize(
    ("workspace", "row"),
    RECORDED,
    ids=lambda value: value if isinstance(value, str) else case_of(value).label.replace(", ", "-"),
)
def test_peaks_are_those_of_the_cuda_allocator_to_the_byte(workspace, row):
    case = case_of(row)
    names = [f"{step}_{kind}" for step in ("first", "steady") for kind in KINDS]
    if case.cudnn_benchmark:  # which plan wins the trials, and so what later calls borrow, is a matter of time
        names = ["first_requested", "first_allocated", "steady_requested"]
        workspace = ask_cudnn() if workspace == "table" else workspace
    _, simulation = simulate_case(case, recorded_on(workspace))
    found = peaks_of(simulation)
    for name in names:
        assert found[name] == int(row[f"{name}_bytes"]), name


def ask_cudnn():
    try:
        version = library_version()
    except CudnnMissingError as error:
        pytest.skip(str(error))
    if version != "9.26.0":
        pytest.skip(f"recorded with cuDNN 9.26.0, this is {version}")
    return "cudnn"


def test_the_label_says_whether_the_trials_are_in():
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=2, cudnn_benchmark=True)
    readings, _ = simulate_case(case, recorded_on("bound"))
    assert readings.workspace == "bound, without the trials of cudnn.benchmark"
    plain = make_case(method="e2e", network="cifar_resnet8", batch_size=2)
    assert simulate_case(plain, recorded_on("bound"))[0].workspace == "bound"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_narrow_step_on_the_cpu_updates_wide_weights(precision):
    case = make_case(
        method="infopro[contrast]", network="cifar_resnet8", module_count=2, batch_size=4, precision=precision,
        memory_format="channels_last", optimizer="adamw",
    )  # fmt: skip
    training = build_training(case, torch.device("cpu"))
    before = [parameter.detach().clone() for parameter in training.network.parameters()]
    seen = []
    hook = training.network.chain.head.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    losses = training.step().losses
    hook.remove()
    assert seen == [getattr(torch, precision)]
    assert all(loss.isfinite() for loss in losses)
    for _ in range(8):  # float16 drops its first updates, until its scale of losses is low enough
        training.step()
    after = list(training.network.parameters())
    assert {parameter.dtype for parameter in after} == {torch.float32}
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True) if old.dim() == 4)
    assert training.infer().dtype == getattr(torch, precision)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_channels_last_changes_no_number_beyond_rounding(optimizer):
    losses = []
    for memory_format in ("contiguous", "channels_last"):
        case = make_case(
            method="dgl", network="cifar_resnet8", module_count=2, batch_size=4, memory_format=memory_format,
            optimizer=optimizer,
        )  # fmt: skip
        training = build_training(case, torch.device("cpu"))
        images = training.next_batch()[0]
        assert images.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")
        training.step()
        losses.append(torch.stack(training.step().losses))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)


def test_the_switches_of_torch_are_those_of_the_case_during_a_step_and_as_before_after_it():
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=4, tf32=False, cudnn_benchmark=True)
    training = build_training(case, torch.device("cpu"))
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul

    def switches():
        return cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark

    before, seen = switches(), []
    hook = training.network.chain.head.register_forward_hook(lambda *_: seen.append(switches()))
    training.step()
    hook.remove()
    assert seen == [(False, False, True)]
    assert switches() == before != seen[0]
