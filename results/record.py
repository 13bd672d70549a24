"""The record: one case, tried once in one way, with its readings, its outcome and its environment.

Every field says its unit in its name. `None` means not measured, never zero. The fields of the three records below,
in this order, are the columns of the Parquet file (`results/schema.py`) and the keys of every `--json` output.
"""

from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from results.samples import Block, Holder, Phase, Probe

Provenance = Literal["simulated", "measured"]
Status = Literal["ok", "out_of_memory", "timeout", "failed"]
Precision = Literal["float32", "bfloat16", "float16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Optimizer = Literal["sgd", "adam", "adamw"]
Compile = Literal["none", "default", "reduce-overhead", "max-autotune"]
Measure = Literal["step", "least_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is tried: a method on a workload, cut into local modules."""

    method: str
    """Canonical method spec, such as `infopro[contrast]`."""
    network: str
    """Backbone name, such as `resnet110`."""
    dataset: str
    """Dataset whose classes and normalisation apply; its images are synthetic unless `data` says otherwise."""
    image_size: int
    """Height of the images in pixels, and their width unless `image_width` says otherwise."""
    module_count: int
    """K, the number of local modules."""
    split_policy: str
    """A policy such as `equal`, or explicit sizes such as `27,28`."""
    batch_size: int
    """Images per step."""
    precision: Precision = "float32"
    """Number format of forwards and losses; the narrow ones by autocast, with weights in float32."""
    tf32: bool = True
    """Whether float32 convolutions and matrix products may run as TF32 on a GPU."""
    memory_format: MemoryFormat = "contiguous"
    """Order of an image's elements in memory, of images and of convolution weights."""
    cudnn_benchmark: bool = False
    """Whether cuDNN tries its algorithms for every new convolution (`torch.backends.cudnn.benchmark`)."""
    optimizer: Optimizer = "sgd"
    """`sgd`: as the papers on this dataset (Nesterov momentum 0.9, weight decay 1e-4 for all but Cityscapes); `adam`,
    `adamw`: torch's defaults."""
    data: str = "synthetic"
    """`synthetic`: one seeded batch resident on the device; `loader`: torchvision's loader inside the timed step."""
    image_width: int | None = None
    """Width of images that are not square, in pixels; None: as `image_size`."""
    allocator: str = ""
    """Settings of the CUDA allocator as in `PYTORCH_ALLOC_CONF`, sorted by name; empty: torch's defaults."""
    compile: Compile = "none"
    """Mode of `torch.compile` for the units of the network; `none`: not compiled."""

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Size of the images in pixels."""
        return self.image_size, self.image_width or self.image_size

    @property
    def label(self) -> str:
        """Short name for progress bars and messages, such as `infopro[contrast] resnet110 K=4, bfloat16`."""
        return ", ".join((f"{self.method} {self.network} K={self.module_count}", *self.options))

    @property
    def options(self) -> tuple[str, ...]:
        """What differs from the papers' options, in words."""
        words = {
            self.precision: self.precision != "float32",
            "no TF32": not self.tf32,
            self.memory_format: self.memory_format != "contiguous",
            "cudnn.benchmark": self.cudnn_benchmark,
            self.optimizer: self.optimizer != "sgd",
            self.allocator: self.allocator != "",
            f"compile={self.compile}": self.compile != "none",
        }
        return tuple(word for word, differs in words.items() if differs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a measurement was made, complete enough to refuse comparing unlike things."""

    peakbench_version: str
    simulator_version: int
    """Raised whenever simulated bytes may change."""
    torch_version: str
    torchvision_version: str | None
    cuda_version: str | None
    """CUDA version torch was built for; None for a CPU build."""
    cudnn_version: int | None
    driver_version: str | None
    python_version: str
    operating_system: str
    device_name: str
    """GPU or CPU model the readings refer to; for simulated readings the modelled device."""
    device_memory_bytes: int | None
    cpu_name: str
    cpu_count: int
    """Logical cores this process may use."""
    thread_count: int
    """Threads torch computes with."""
    git_commit: str | None
    """Commit of the peakbench checkout; None outside a checkout."""
    git_dirty: bool | None
    container: str | None = None
    """What the process runs inside: `docker`, `podman`, `kubernetes`, .. or `none`; None: not looked at."""
    allocator_settings: str | None = None
    """`PYTORCH_ALLOC_CONF` of the shell that began the run; it holds for cases that name no settings of their own."""
    default_clock_hertz: int | None = None
    """Clock of the GPU's multiprocessors that the driver sets by default."""
    set_clock_hertz: int | None = None
    """The one that is set now, which another may have changed; the clock of each moment is among the readings."""
    persistence_mode: bool | None = None
    """Whether the driver stays loaded between processes."""
    mig_mode: bool | None = None
    """Whether the GPU is divided into instances (MIG)."""
    command: str | None = None
    """Command line of the run, suite and options included."""
    cpu_capability: str | None = None
    """Vector instructions that torch's own kernels use, such as `AVX512`."""
    cpu_governor: str | None = None
    """What chooses the CPU's clock, such as `performance`; None where the system does not tell."""
    cpu_limit: float | None = None
    """Cores that control groups leave to the process; None: no limit is known."""
    memory_limit_bytes: int | None = None
    """Memory of the host that they leave to it; None: no limit is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the probes saw; every field may be None.

    A method in rounds trains one local module after the other. Its FLOPs and its seconds are then those of one step of
    every round together, so that each module is trained once, as in a step of another method; its peaks are the highest
    of any round, each begun in a fresh process; losses are the last round's.
    """

    split_sizes: tuple[int, ...] | None = None
    """Units of every local module."""
    parameter_count: int | None = None
    """Trained parameters: backbone, auxiliary and context networks."""
    deployed_parameter_count: int | None = None
    """Parameters of the network used at inference."""
    training_flops: int | None = None
    """Floating-point operations of one training step (convolutions and matrix products, a multiply-add counts two)."""
    training_macs: int | None = None
    """Multiply-adds of one training step: half of training_flops."""
    inference_flops: int | None = None
    """Floating-point operations of one forward pass of the deployed network over the batch."""
    inference_macs: int | None = None
    """Multiply-adds of one such forward pass."""
    theoretical_overhead: float | None = None
    """Auxiliary forward FLOPs over backbone forward FLOPs, plus recomputed FLOPs over backbone training FLOPs."""
    peak_requested_bytes: int | None = None
    """Highest sum of bytes asked for during a steady training step."""
    peak_allocated_bytes: int | None = None
    """Highest sum of allocator blocks during a steady training step."""
    peak_active_bytes: int | None = None
    """The same with freed blocks that another stream still waits for; None in simulations, which have one stream."""
    peak_reserved_bytes: int | None = None
    """Highest sum of allocator segments during a steady training step, with the cache that earlier steps left."""
    emptied_peak_reserved_bytes: int | None = None
    """The same over steady steps that began with an empty cache: what they need by themselves."""
    peak_inactive_split_bytes: int | None = None
    """Highest sum of free blocks that are parts of a segment in use, in steps that began with an empty cache."""
    allocation_retry_count: int | None = None
    """How often the allocator gave memory back to the device to serve a request, in the steps of the memory pass."""
    first_step_peak_requested_bytes: int | None = None
    """Highest sum of bytes asked for during the first step, before the optimizer has its state."""
    first_step_peak_allocated_bytes: int | None = None
    """Highest sum of allocator blocks during the first step."""
    first_step_peak_active_bytes: int | None = None
    """The same with freed blocks that another stream still waits for."""
    first_step_peak_reserved_bytes: int | None = None
    """Highest sum of allocator segments during the first step."""
    peak_holders: tuple[Holder, ...] | None = None
    """What is alive at the allocated peak of a steady step, by category and local module; adds up to it."""
    peak_pinned_bytes: int | None = None
    """Highest sum of pinned host memory."""
    peak_resident_bytes: int | None = None
    """High-water mark of the process's resident set: on a CPU over a steady step, else since it began."""
    resident_before_bytes: int | None = None
    """Resident set before the network was built: Python and its libraries."""
    device_process_bytes: int | None = None
    """Memory of the device that the process holds behind the memory pass, as NVML tells."""
    device_process_source: str | None = None
    """`process`: told for the process; `device`: growth of what is used on the whole device since before it began."""
    context_bytes: int | None = None
    """Of these what is not in the allocator's segments: CUDA context, kernels, handles of libraries."""
    least_memory_bytes: int | None = None
    """Least memory of segments with which training runs: three simulated steps, by exact search in steps of 2 MiB; or
    measured, by bisection over processes."""
    least_memory_probes: tuple[Probe, ...] | None = None
    """Every process of that bisection, in the order they ran; the first has no limit."""
    peak_phase: str | None = None
    """Where the simulated peak lies, in words."""
    workspace: str | None = None
    """Source of the convolution workspaces in the peaks: `none` when they are not modelled."""
    step_seconds: tuple[float, ...] | None = None
    """Training steps of the method, alternated with those of E2E in ABBA blocks: on CUDA between two events of the
    stream, else by the wall clock."""
    reference_step_seconds: tuple[float, ...] | None = None
    """The E2E steps of the same blocks, paired with step_seconds by position."""
    step_host_seconds: tuple[float, ...] | None = None
    """Wall time until the host had queued each of step_seconds on the device; None on a CPU."""
    reference_step_host_seconds: tuple[float, ...] | None = None
    """Of the E2E steps."""
    step_energy_joules: tuple[float, ...] | None = None
    """Energy of the device per step of the method, one value per kept block."""
    reference_step_energy_joules: tuple[float, ...] | None = None
    """Of the E2E steps."""
    block_step_count: int | None = None
    """Steps of one side in one block: two blocks of each side make an ABBA."""
    blocks: tuple[Block, ...] | None = None
    """Every block of step timing in the order they ran, also those run again."""
    inference_seconds: tuple[float, ...] | None = None
    """Forward passes of the deployed network in evaluation mode over the batch."""
    reference_inference_seconds: tuple[float, ...] | None = None
    """The E2E passes paired with them."""
    inference_block_pass_count: int | None = None
    """Passes of one side in one block."""
    latency_seconds: tuple[float, ...] | None = None
    """Forward passes of the deployed network over one image."""
    reference_latency_seconds: tuple[float, ...] | None = None
    """The E2E passes paired with them."""
    latency_block_pass_count: int | None = None
    """Passes of one side in one block."""
    inference_peak_allocated_bytes: int | None = None
    """Highest sum of allocator blocks during a forward pass over the batch, with what a training keeps gone."""
    timing_stop: str | None = None
    """Why step timing ended: `converged` (interval narrow enough), `quiet` (little noise), `enough` (sample limit) or
    `time` (time limit)."""
    foreign_cpu_share: float | None = None
    """Share of the machine's cores that others used while steps were warmed up and timed, 0 to 1."""
    warm_up_step_count: int | None = None
    """Steps of the method run before the first sample."""
    steps_counted: int | None = None
    """Steps of the method that ran to their end in the passes of memory and time, counted by its optimizers."""
    phases: tuple[Phase, ...] | None = None
    """How long the stretches of the process took, in order."""
    first_step_seconds: float | None = None
    """The method's very first step, with all that is set up or compiled only once; of its rounds together."""
    first_loss: float | None = None
    """Loss of the final module in the first step."""
    last_loss: float | None = None
    """Loss of the final module in the last timed step."""
    device_uuid: str | None = None
    """Which of a machine's GPUs it was."""
    flags: tuple[str, ...] | None = None
    """Words for whatever makes the row suspicious, such as `throttled`; empty: nothing was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row: a case with its outcome, readings and environment."""

    case: Case
    provenance: Provenance
    device: str
    """`cuda` or `cpu`: the kind of device the readings refer to."""
    measure: Measure = "step"
    """`step`: memory, time and inference; `least_memory`: the bisection, a row of its own."""
    status: Status
    phase: str | None = None
    """What was under way when a case did not finish."""
    message: str | None = None
    """Why a case did not finish."""
    started_at: str
    """UTC time in ISO 8601."""
    wall_seconds: float
    """From the start of the case's process to its end."""
    readings: Readings = Readings()
    environment: Environment

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two rows the same measurement: a later one replaces an earlier one.

        But no row replaces an `ok` one without being `ok` itself (`results.store.choose_rows`).
        """
        e = self.environment
        versions = (e.peakbench_version, e.simulator_version) if self.provenance == "simulated" else (e.device_name,)
        return (self.case, self.provenance, self.device, self.measure, e.torch_version, *versions)

    def to_row(self) -> dict[str, Any]:
        """Flatten into column name -> value, in column order."""
        row: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            row |= asdict(value) if field.name in _PARTS else {field.name: value}
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Inverse of `to_row`; lists become tuples, structs records."""
        parts = {name: _decode(record, row) for name, record in _PARTS.items()}
        own = {name: row[name] for name in _hints(cls) if name in row}
        return cls(**own, **parts)


_PARTS: dict[str, type] = {"case": Case, "readings": Readings, "environment": Environment}


@cache
def _hints(record: type) -> dict[str, Any]:
    """Types of a record's fields, without the None of those that may be None."""
    hints = get_type_hints(record)
    return {field.name: _without_none(hints[field.name]) for field in fields(record)}


def _without_none(hint: Any) -> Any:
    if not isinstance(hint, UnionType):
        return hint
    (kind,) = [choice for choice in get_args(hint) if choice is not NoneType]
    return kind


def _decode(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(_decode(item, each) for each in value) if is_dataclass(item) else tuple(value)
    if is_dataclass(kind):
        return kind(**{name: _decode(hint, value[name]) for name, hint in _hints(kind).items()})  # pyright: ignore[reportCallIssue]
    return value
