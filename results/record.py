"""The record: one case, tried once in one way, with its readings, its outcome and its environment.

Every field says its unit in its name. `None` means not measured, never zero. The fields of the three records below,
in this order, are the columns of the Parquet file (`results/schema.py`) and the keys of every `--json` output.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

Provenance = Literal["simulated", "measured"]
Status = Literal["ok", "out_of_memory", "timeout", "failed"]
Precision = Literal["float32", "bfloat16", "float16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Optimizer = Literal["sgd", "adam", "adamw"]

FINISHED: tuple[Status, ...] = ("ok", "out_of_memory")
"""Outcomes that are results; a resumed run tries the others again."""


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
    peak_reserved_bytes: int | None = None
    """Highest sum of allocator segments during a steady training step."""
    first_step_peak_allocated_bytes: int | None = None
    """Highest sum of allocator blocks during the first step, before the optimizer has its state."""
    least_memory_bytes: int | None = None
    """Least memory of segments with which three simulated steps run; found by exact search, in steps of 2 MiB."""
    peak_phase: str | None = None
    """Where the simulated peak lies, in words."""
    workspace: str | None = None
    """Source of the convolution workspaces in the peaks: `none` when they are not modelled."""
    step_seconds: tuple[float, ...] | None = None
    """Training steps of the method, alternated with those of E2E in ABBA blocks."""
    reference_step_seconds: tuple[float, ...] | None = None
    """The E2E steps of the same blocks, paired with step_seconds by position."""
    inference_seconds: tuple[float, ...] | None = None
    """Forward passes of the deployed network in evaluation mode."""
    reference_inference_seconds: tuple[float, ...] | None = None
    """The E2E passes paired with them."""
    timing_stop: str | None = None
    """Why step timing ended: `converged` (interval narrow enough), `enough` (sample limit) or `time` (time limit)."""
    first_step_seconds: float | None = None
    """The method's very first step, with lazy initialisation."""
    first_loss: float | None = None
    """Loss of the final module in the first step."""
    last_loss: float | None = None
    """Loss of the final module in the last timed step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row: a case with its outcome, readings and environment."""

    case: Case
    provenance: Provenance
    device: str
    """`cuda` or `cpu`: the kind of device the readings refer to."""
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
        """What makes two rows the same measurement: a later one replaces an earlier one."""
        e = self.environment
        versions = (e.peakbench_version, e.simulator_version) if self.provenance == "simulated" else (e.device_name,)
        return (self.case, self.provenance, self.device, e.torch_version, *versions)

    def to_row(self) -> dict[str, Any]:
        """Flatten into column name -> value, in column order."""
        row: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            row |= asdict(value) if field.name in ("case", "readings", "environment") else {field.name: value}
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Inverse of `to_row`; lists become tuples."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}

        def part(record: type) -> dict[str, Any]:
            return {field.name: values[field.name] for field in fields(record)}

        own = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        parts = {"case": Case(**part(Case)), "readings": Readings(**part(Readings))}
        return cls(**own, **parts, environment=Environment(**part(Environment)))
