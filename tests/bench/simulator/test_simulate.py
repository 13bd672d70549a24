"""The simulator against independent truths: the CUDA allocator, real CPU runs, hand-computed sums.

`allocator_peaks.csv` holds what `torch.cuda.memory_stats()` said after the third step of each case: torch 2.15.0 with
its own CUDA dispatch and caching allocator over a stand-in for the CUDA runtime whose kernels do nothing (compute
capability 9.0, 132 multiprocessors, convolutions without workspace), `allocator_peaks_networks.csv` the same of the
backbones beside the CIFAR ResNets. `allocator_peaks_H200.csv` is the same with the
plans and workspaces that cuDNN 9.26 chooses for an H200.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch

from bench.cases import make_case
from bench.probes.flops import FlopCounter
from bench.simulator.ledger import by_category
from bench.simulator.model import read_model
from bench.simulator.operators import Device
from bench.simulator.simulate import simulate_case, simulate_step, theoretical_overhead
from bench.simulator.tracker import StorageTracker
from bench.training import build_network, build_training
from bench.workloads.data import synthetic_batch
from methods.datasets import DATASETS
from tests.bench.simulator.recorded import recorded_on

FOLDER = Path(__file__).parent
RECORDED = [
    (workspace, row)
    for workspace, file in (
        ("none", "allocator_peaks.csv"),
        ("none", "allocator_peaks_networks.csv"),
        ("table", "allocator_peaks_H200.csv"),
    )
    for row in csv.DictReader((FOLDER / file).read_text().splitlines())
]
SMALL = [
    ("e2e", 1), ("checkpoint[segments=3]", 1), ("greedy", 3), ("dgl", 3), ("infopro[softmax]", 3),
    ("infopro[contrast]", 3), ("contsup[E]", 3), ("contsup[R1]", 3), ("contsup[R1E]", 3),
    ("contsup[R1E]+decoder+checkpoint[segments=2]", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("workspace", "row"),
    RECORDED,
    ids=lambda value: value if isinstance(value, str) else f"{value['method']} {value['network']} {value['modules']}",
)
def test_peaks_are_those_of_the_cuda_allocator_to_the_byte(workspace, row):
    case = make_case(
        method=row["method"],
        network=row["network"],
        module_count=int(row["modules"]),
        batch_size=int(row["batch"]),
    )
    readings, _ = simulate_case(case, recorded_on(workspace))
    for name in ("requested", "allocated", "reserved"):
        assert getattr(readings, f"peak_{name}_bytes") == int(row[f"{name}_bytes"]), name
    assert readings.workspace == workspace


def readings_of(case):
    return simulate_case(case)[0]


def stream_of(spec, module_count, device):
    """Events of the second training step, as (action, bytes)."""
    case = make_case(method=spec, network="cifar_resnet8@8", module_count=module_count, batch_size=4)
    tracker = StorageTracker(Device(), follow=device)
    with tracker:
        network = build_network(case, torch.device(device))
        images, labels = synthetic_batch(DATASETS["cifar10"], 8, 4, device)
        for _ in range(2):
            tracker.start_step()
            network.zero_grad()
            network.training_step(images, labels)
    stream = tracker.stream
    return [(stream.events[i].action, stream.events[i].bytes) for i in stream.step_events(1)]


@pytest.mark.parametrize(("spec", "module_count"), SMALL)
def test_a_step_without_data_has_the_events_of_a_real_one(spec, module_count):
    simulated, real = stream_of(spec, module_count, "meta"), stream_of(spec, module_count, "cpu")
    assert len(simulated) > 100
    assert simulated == real


def test_peak_of_a_product_by_hand():
    """w * x summed: weight, input, product; then gradient, momentum, and a copy of the gradient for weight decay."""
    size = 4 * 1024 * 1024

    def build():
        weight = torch.nn.Parameter(torch.empty(1024, 1024))
        network = torch.nn.ParameterList([weight])
        optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9, weight_decay=1e-4, foreach=True)
        images = torch.empty(1024, 1024)

        def step():
            optimizer.zero_grad()
            loss = (weight * images).sum()
            loss.backward()
            optimizer.step()

        return step, network, optimizer, images

    simulation = simulate_step(build)
    held = Counter()
    for (category, _, _), bytes_ in simulation.holders().items():
        held[category] += bytes_
    assert simulation.steady.place.phase == "optimizer"
    assert held["parameters"] == held["input"] == held["gradients"] == held["optimizer state"] == size
    assert size <= held["temporary"] < size + 4096
    assert held.total() == simulation.steady.allocated_bytes


@pytest.mark.parametrize(("spec", "module_count"), SMALL)
def test_what_holds_the_peak_adds_up_to_it(spec, module_count):
    case = make_case(method=spec, network="cifar_resnet14", module_count=module_count, batch_size=256)
    readings, simulation = simulate_case(case)
    held = simulation.holders()
    assert held.total() == readings.peak_allocated_bytes
    assert min(held.values()) > 0
    stream = simulation.stream
    rows = by_category(stream, simulation.ledger, stream.step_events(2))
    assert [sum(row.values()) for row in rows] == [*simulation.ledger.allocated[stream.steps[2] :]][: len(rows)]


def test_a_limit_says_where_memory_runs_out():
    case = make_case(method="e2e", network="resnet32", batch_size=1024)
    _, free = simulate_case(case)
    exact = free.ledger.reserved
    fits, _ = simulate_case(case, read_model(limit_bytes=max(exact)))
    assert fits.peak_allocated_bytes is not None
    readings, simulation = simulate_case(case, read_model(limit_bytes=2**30))
    assert readings.peak_allocated_bytes is None
    assert simulation.failed_place.startswith("forward of unit layer1.")
    assert simulation.failed_place.endswith("in local module 1, step 1")
    assert "limit 1073741824" in simulation.failure
    assert simulation.ledger.retries == []


@pytest.mark.parametrize("batch", [2048, 65_536])
def test_activations_scale_with_the_batch_and_nothing_else_does(batch):
    case = make_case(method="dgl", network="cifar_resnet8", module_count=2, batch_size=batch)
    small = make_case(method="dgl", network="cifar_resnet8", module_count=2, batch_size=batch // 2)
    (large, _), (half, _) = simulate_case(case), simulate_case(small)
    assert large.training_flops == 2 * half.training_flops
    assert large.parameter_count == half.parameter_count
    assert 1.8 < large.peak_allocated_bytes / half.peak_allocated_bytes <= 2


def test_the_same_case_gives_the_same_readings():
    case = make_case(method="contsup[R1E]", network="cifar_resnet14", module_count=4, batch_size=32)
    (first, a), (second, b) = simulate_case(case), simulate_case(case)
    assert first == second
    assert a.ledger == b.ledger
    assert a.holders() == b.holders()


# methods.md section 1.1: forward multiply-adds in millions per image.
@pytest.mark.parametrize(
    ("network", "millions"),
    [("resnet32", 69.125), ("resnet110", 253.150), ("resnet32@96", 622.118), ("resnet110@96", 2278.343)],
)
def test_forward_multiply_adds_are_the_published(network, millions):
    readings = readings_of(make_case(method="e2e", network=network, batch_size=2))
    assert readings.inference_macs / 2e6 == pytest.approx(millions, abs=6e-4)
    # Backward: two products per forward one, except the images' gradient in the stem's convolution.
    stem = 3 * 16 * 9 * (96 if "@" in network else 32) ** 2
    assert readings.training_macs / 2 == pytest.approx(3 * millions * 1e6 - stem, rel=1e-5)
    assert readings.theoretical_overhead == 0


@pytest.mark.parametrize(
    ("split", "modules", "percent"), [("1.14", 2, 1.30), ("1.9,2.2", 3, 3.31), ("1.6,1.14,2.8", 4, 4.61)]
)
def test_theoretical_overhead_is_the_published(split, modules, percent):
    """InfoPro Table 3 at the authors' boundaries; 5.9 % printed for K = 4 does not follow from theirs (4.6 %)."""
    case = make_case(
        method="infopro[contrast,zero_weight=run]", network="resnet110", module_count=modules, split=split, batch_size=2
    )
    assert 100 * readings_of(case).theoretical_overhead == pytest.approx(percent, abs=0.01)


def test_checkpointing_adds_one_forward():
    readings = readings_of(make_case(method="checkpoint", network="resnet32", batch_size=2))
    assert readings.theoretical_overhead == pytest.approx(1 / 3, abs=1e-3)


# methods.md 3.5: inference multiply-adds added by context, in per cent.
@pytest.mark.parametrize(
    ("spec", "network", "percents"),
    [
        ("contsup[E]", "resnet32", (5.6, 19.4, 41.8, 89.1)),
        ("contsup[R1E]", "resnet32", (5.6, 20.9, 44.8, 95.2)),
        ("contsup[E]", "resnet110", (1.5, 5.3, 12.1, 24.3)),
        ("contsup[R1E]", "resnet110", (1.5, 5.7, 12.9, 26.0)),
    ],
)
def test_context_adds_the_published_multiply_adds_at_inference(spec, network, percents):
    backbone = count_inference(make_case(method="e2e", network=network, batch_size=2))
    for module_count, percent in zip((2, 4, 8, 16), percents, strict=True):
        case = make_case(method=spec, network=network, module_count=module_count, batch_size=2)
        assert 100 * (count_inference(case) / backbone - 1) == pytest.approx(percent, abs=0.06)


def count_inference(case):
    """FLOPs of a forward pass of the deployed network, without the training steps of a simulation."""
    training = build_training(case, torch.device("meta"))
    with torch.no_grad(), FlopCounter() as counter:
        training.infer()
    return counter.total


def test_the_readings_count_inference_alike():
    case = make_case(method="contsup[R1E]", network="cifar_resnet8", module_count=3, batch_size=2)
    assert readings_of(case).inference_flops == count_inference(case)


def test_overhead_counts_networks_by_their_forward_and_recomputation_by_its_share():
    phases = Counter(unit=90, head=10, auxiliary=4, context=6, backward=190, recompute=100)
    assert theoretical_overhead(phases) == pytest.approx(10 / 100 + 100 / 300)
