from dataclasses import replace

import pytest

from reports.tables import REPORTS
from results.record import Case, Environment, Measurement, Readings
from results.samples import Holder

ENVIRONMENT = Environment(
    peakbench_version="0.1.0",
    simulator_version=1,
    torch_version="2.15.0",
    torchvision_version=None,
    cuda_version=None,
    cudnn_version=None,
    driver_version=None,
    python_version="3.11.7",
    operating_system="Linux",
    device_name="any CUDA device",
    device_memory_bytes=None,
    cpu_name="EPYC",
    cpu_count=2,
    thread_count=2,
    git_commit=None,
    git_dirty=None,
)
CASE = Case(
    method="e2e",
    network="resnet110",
    dataset="cifar10",
    image_size=32,
    module_count=1,
    split_policy="equal",
    batch_size=1024,
)
OWN = ("status", "phase", "message", "device")
GIB = 2**30
LOCAL_METHODS = ("greedy", "dgl", "infopro[softmax]", "infopro[contrast]", "contsup[E]", "contsup[R1]", "contsup[R1E]")


def measurement(provenance, method, module_count, options, batch_size, device, device_name):
    """A row; options are fields of the case, the row or the readings by name."""
    options = {"batch_size": batch_size, "device": device, "device_name": device_name, "status": "ok"} | options
    case = {name: options.pop(name) for name in list(options) if name in Case.__dataclass_fields__}
    own = {name: options.pop(name) for name in OWN if name in options}
    environment = {name: options.pop(name) for name in list(options) if name in Environment.__dataclass_fields__}
    return Measurement(
        case=replace(CASE, method=method, module_count=module_count, **case),
        provenance=provenance,
        started_at="2026-03-15T12:00:00+00:00",
        wall_seconds=1.0,
        readings=Readings(**options),
        environment=replace(ENVIRONMENT, **environment),
        **own,
    )


@pytest.fixture(scope="session")
def simulated():
    """Make a simulated row: batch 1024 for any CUDA device."""

    def make(method, module_count=1, gib=None, **options):
        if gib is not None:
            options["peak_allocated_bytes"] = int(gib * GIB)
        return measurement("simulated", method, module_count, options, 1024, "cuda", "any CUDA device")

    return make


@pytest.fixture(scope="session")
def measured():
    """Make a measured row: batch 64 on a CPU, or what the options say."""

    def make(method, module_count=1, **options):
        return measurement("measured", method, module_count, options, 64, "cpu", "EPYC")

    return make


@pytest.fixture(scope="session")
def suite(simulated, measured):
    """What the suite `cifar` leaves: two networks, nine methods, K = 2, 4, 8, 16; rows in no useful order."""
    rows = []
    for network, gib, parameters in (("resnet110", 8.1, 1_730_714), ("resnet32", 2.4, 466_906)):
        cases = [("e2e", 1), ("checkpoint", 1)]
        methods = (
            "greedy",
            "dgl",
            "infopro[softmax]",
            "infopro[contrast]",
            "contsup[E]",
            "contsup[R1]",
            "contsup[R1E]",
        )
        cases += [(method, count) for method in methods for count in (2, 4, 8, 16)]
        for place, (method, count) in enumerate(cases):
            slower = 1 + place / 50
            deployed = parameters + (2500 * count if method.startswith("contsup") else 0)
            counts = {"parameter_count": parameters + 28_000 * count, "deployed_parameter_count": deployed}
            rows.append(
                simulated(
                    method,
                    count,
                    gib=gib / count,
                    network=network,
                    theoretical_overhead=0.02 * (count - 1),
                    inference_flops=1000 + count,
                    workspace="none",
                    peak_holders=(
                        Holder(category="activations", module=0, bytes=int(gib / count * GIB) - 2**20),
                        Holder(category="parameters", module=None, bytes=2**20),
                    ),
                    **counts,
                )
            )
            rows.append(
                measured(
                    method,
                    count,
                    network=network,
                    step_seconds=tuple(0.6 * slower * (1 + k % 3 / 100) for k in range(12)),
                    reference_step_seconds=(0.6,) * 12,
                    inference_seconds=tuple(0.15 * slower * (1 + k % 3 / 100) for k in range(12)),
                    reference_inference_seconds=(0.15,) * 12,
                )
            )
    return rows[::-1]


@pytest.fixture(scope="session")
def imagenet_rows(simulated):
    """InfoPro Table 4: memory of one GPU."""
    options = {"dataset": "imagenet", "image_size": 224, "batch_size": 128}
    return [
        simulated("e2e", gib=16, network="resnet101", **options),
        simulated("infopro[softmax]", 2, gib=9, network="resnet101", split_policy="7,27", **options),
        simulated("mlaan[c=3]", 33, gib=14, network="resnet101", split_policy="merge_stem", **options),
        simulated("e2e", network="resnext101_32x8d", status="out_of_memory", **options | {"batch_size": 64}),
    ]


@pytest.fixture(scope="session")
def cityscapes_rows(simulated):
    """InfoPro Table 5: two batches, two crops."""
    options = {"dataset": "cityscapes", "network": "deeplabv3_resnet101", "split_policy": "20,14", "batch_size": 4}
    small, large = ({"image_size": height, "image_width": 2 * height} for height in (512, 640))
    weighted = "infopro[softmax,weights=1/0.1]"
    return [
        simulated("e2e", gib=16, **options, **small),
        simulated("infopro[softmax]", 2, gib=10, theoretical_overhead=0.06, **options, **small),
        simulated(weighted, 2, gib=14, theoretical_overhead=0.06, **options | {"batch_size": 6}, **small),
        simulated("infopro[softmax]", 2, gib=15, theoretical_overhead=0.06, **options, **large),
    ]


@pytest.fixture(scope="session")
def gpu_rows(simulated, measured):
    """A method measured on a GPU, with its least memory, beside its simulation; and E2E, measured alone."""

    def on_gpu(row, **changes):
        environment = replace(row.environment, device_name="NVIDIA H200")
        return replace(row, device="cuda", environment=environment, case=replace(row.case, batch_size=1024), **changes)

    def peaks(mib):
        return {f"peak_{kind}_bytes": mib * 2**20 for kind in ("requested", "allocated", "reserved")} | {
            "first_step_peak_allocated_bytes": mib * 2**20
        }

    timed = {
        "step_seconds": (0.2, 0.2), "step_host_seconds": (0.05, 0.05), "step_energy_joules": (80.0, 82.0),
        "latency_seconds": (0.004,), "inference_seconds": (0.064,), "device_process_bytes": 600 * 2**20,
        "context_bytes": 500 * 2**20, "flags": ("throttled",),
    }  # fmt: skip
    return [
        simulated("dgl", 2, **peaks(95), least_memory_bytes=90 * 2**20),
        on_gpu(measured("dgl", 2, **peaks(100), **timed)),
        on_gpu(measured("dgl", 2, least_memory_bytes=90 * 2**20, flags=("emulated",)), measure="least_memory"),
        on_gpu(measured("e2e", **peaks(200))),
    ]


@pytest.fixture(scope="session")
def suite_tables(suite, imagenet_rows, cityscapes_rows, gpu_rows):
    """Name of a report -> its tables of a suite that has what it shows."""
    suites = {"imagenet": imagenet_rows, "segmentation": cityscapes_rows, "device": gpu_rows}
    return {name: report.build(suites.get(name, suite)) for name, report in REPORTS.items()}
