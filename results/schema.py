"""The Parquet schema: every column of the flattened record with its type, unit and meaning.

Columns and their order are those of `Measurement.to_row()`; a column may be null where the record allows None. A file
says in its metadata what it holds (`kind`) and by which version of this table (`schema_version`).
"""

import pyarrow as pa

KIND = "peakbench.measurements"
SCHEMA_VERSION = 5
"""Raised whenever a column is added, removed, or changes its type or meaning; `results/migrate.py` reads what was."""

_TEXT = pa.string()
_WHOLE = pa.int64()
_REAL = pa.float64()
_TRUTH = pa.bool_()
_WORDS = pa.list_(_TEXT)


def _required(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"unit": unit, "description": description})


def _optional(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=True, metadata={"unit": unit, "description": description})


def _struct(*members: tuple[str, pa.DataType, bool]) -> pa.DataType:
    """A struct of fields (name, type, whether it may be null)."""
    return pa.struct([pa.field(name, kind, nullable=nullable) for name, kind, nullable in members])


_HOLDER = _struct(("category", _TEXT, False), ("module", _WHOLE, True), ("bytes", _WHOLE, False))
_STATE = _struct(
    ("sm_clock_hertz", _WHOLE, True),
    ("memory_clock_hertz", _WHOLE, True),
    ("temperature_celsius", _WHOLE, True),
    ("power_watts", _REAL, True),
    ("throttle_reasons", _WORDS, True),
    ("foreign_process_count", _WHOLE, True),
)
_BLOCK = _struct(
    ("side", _TEXT, False),
    ("step_count", _WHOLE, False),
    ("wall_seconds", _REAL, False),
    ("energy_joules", _REAL, True),
    ("before", _STATE, True),
    ("after", _STATE, True),
    ("flags", _WORDS, False),
    ("kept", _TRUTH, False),
)
_PROBE = _struct(
    ("limit_bytes", _WHOLE, True),
    ("status", _TEXT, False),
    ("retry_count", _WHOLE, True),
    ("step_seconds", pa.list_(_REAL), True),
    ("message", _TEXT, True),
)
_PHASE = _struct(("name", _TEXT, False), ("seconds", _REAL, False))

CASE = (
    _required("method", _TEXT, "Canonical method spec"),
    _required("network", _TEXT, "Backbone name"),
    _required("dataset", _TEXT, "Dataset whose classes and normalisation apply"),
    _required("image_size", _WHOLE, "Height of the images, and their width where image_width is null", "pixel"),
    _required("module_count", _WHOLE, "K, the number of local modules"),
    _required("split_policy", _TEXT, "Policy that places the boundaries, or explicit sizes"),
    _required("batch_size", _WHOLE, "Images per step", "image"),
    _required("precision", _TEXT, "Number format of forwards and losses; weights stay float32"),
    _required("tf32", _TRUTH, "Whether float32 convolutions and matrix products may run as TF32 on a GPU"),
    _required("memory_format", _TEXT, "contiguous or channels_last: order of an image's elements in memory"),
    _required("cudnn_benchmark", _TRUTH, "Whether cuDNN tries its algorithms for every new convolution"),
    _required("optimizer", _TEXT, "sgd with the papers' settings; adam and adamw with torch's defaults"),
    _required("data", _TEXT, "synthetic: one batch resident on the device; loader: loading is inside the timed step"),
    _optional("image_width", _WHOLE, "Width of images that are not square; null: as image_size", "pixel"),
    _required("allocator", _TEXT, "Settings as in PYTORCH_ALLOC_CONF, sorted by name; empty: torch's defaults"),
    _required("compile", _TEXT, "Mode of torch.compile; none: not compiled"),
)
OUTCOME = (
    _required("provenance", _TEXT, "simulated or measured"),
    _required("device", _TEXT, "cuda or cpu: the kind of device the readings refer to"),
    _required("measure", _TEXT, "step: memory, time and inference; least_memory: the bisection of the limit"),
    _required("status", _TEXT, "ok, out_of_memory, timeout or failed"),
    _optional("phase", _TEXT, "What was under way when the case did not finish"),
    _optional("message", _TEXT, "Why the case did not finish"),
    _required("started_at", _TEXT, "UTC time of the start in ISO 8601"),
    _required("wall_seconds", _REAL, "From the start of the case's process to its end", "s"),
)
READINGS = (
    _optional("split_sizes", pa.list_(_WHOLE), "Units of every local module, first to last"),
    _optional("parameter_count", _WHOLE, "Trained parameters: backbone, auxiliary and context networks"),
    _optional("deployed_parameter_count", _WHOLE, "Parameters of the network used at inference"),
    _optional("training_flops", _WHOLE, "One training step; a multiply-add counts two", "FLOP"),
    _optional("training_macs", _WHOLE, "One training step", "multiply-add"),
    _optional("inference_flops", _WHOLE, "One forward pass of the deployed network over the batch", "FLOP"),
    _optional("inference_macs", _WHOLE, "One such forward pass", "multiply-add"),
    _optional("theoretical_overhead", _REAL, "Auxiliary over backbone forward FLOPs, plus recomputed over training"),
    _optional("peak_requested_bytes", _WHOLE, "Highest sum of bytes asked for in a steady step", "B"),
    _optional("peak_allocated_bytes", _WHOLE, "Highest sum of allocator blocks in a steady step", "B"),
    _optional("peak_active_bytes", _WHOLE, "The same with freed blocks that another stream waits for", "B"),
    _optional("peak_reserved_bytes", _WHOLE, "Highest sum of allocator segments in a steady step", "B"),
    _optional("emptied_peak_reserved_bytes", _WHOLE, "The same in steady steps that began with an empty cache", "B"),
    _optional("peak_inactive_split_bytes", _WHOLE, "Highest sum of free parts of segments in use, in such steps", "B"),
    _optional("allocation_retry_count", _WHOLE, "Requests served only after memory went back to the device"),
    _optional("first_step_peak_requested_bytes", _WHOLE, "Highest sum of bytes asked for in the first step", "B"),
    _optional("first_step_peak_allocated_bytes", _WHOLE, "Highest sum of allocator blocks in the first step", "B"),
    _optional("first_step_peak_active_bytes", _WHOLE, "The same with blocks that another stream waits for", "B"),
    _optional("first_step_peak_reserved_bytes", _WHOLE, "Highest sum of allocator segments in the first step", "B"),
    _optional("peak_holders", pa.list_(_HOLDER), "What is alive at the allocated peak; adds up to it; modules from 0"),
    _optional("peak_pinned_bytes", _WHOLE, "Highest sum of pinned host memory", "B"),
    _optional("peak_resident_bytes", _WHOLE, "High-water mark of the process's memory in the host", "B"),
    _optional("resident_before_bytes", _WHOLE, "The process's memory in the host before the network was built", "B"),
    _optional("device_process_bytes", _WHOLE, "Memory of the device that the process holds, as NVML tells", "B"),
    _optional("device_process_source", _TEXT, "process: told for it; device: growth of what the whole device uses"),
    _optional("context_bytes", _WHOLE, "Of these what is not in the allocator's segments", "B"),
    _optional("least_memory_bytes", _WHOLE, "Least memory of segments with which training runs", "B"),
    _optional("least_memory_probes", pa.list_(_PROBE), "Every process of the bisection; the first without a limit"),
    _optional("peak_phase", _TEXT, "Where the simulated peak lies, in words"),
    _optional("workspace", _TEXT, "Source of the convolution workspaces in the peaks; none: not modelled"),
    _optional("step_seconds", pa.list_(_REAL), "Training steps of the method, alternated with E2E", "s"),
    _optional("reference_step_seconds", pa.list_(_REAL), "E2E steps of the same blocks, paired by position", "s"),
    _optional("step_host_seconds", pa.list_(_REAL), "Wall time until the host had queued each step (CUDA)", "s"),
    _optional("reference_step_host_seconds", pa.list_(_REAL), "The same of the E2E steps", "s"),
    _optional("step_energy_joules", pa.list_(_REAL), "Energy per step of the method, a value per kept block", "J"),
    _optional("reference_step_energy_joules", pa.list_(_REAL), "The same of the E2E steps", "J"),
    _optional("block_step_count", _WHOLE, "Steps of one side in one block; ABBA is two of each side"),
    _optional("blocks", pa.list_(_BLOCK), "Every block of step timing in order, also those that were run again"),
    _optional("inference_seconds", pa.list_(_REAL), "Forward passes of the deployed network over the batch", "s"),
    _optional("reference_inference_seconds", pa.list_(_REAL), "E2E passes paired with them by position", "s"),
    _optional("inference_block_pass_count", _WHOLE, "Passes of one side in one block"),
    _optional("latency_seconds", pa.list_(_REAL), "Forward passes of the deployed network over one image", "s"),
    _optional("reference_latency_seconds", pa.list_(_REAL), "E2E passes paired with them by position", "s"),
    _optional("latency_block_pass_count", _WHOLE, "Passes of one side in one block"),
    _optional("inference_peak_allocated_bytes", _WHOLE, "Highest sum of blocks in a pass over the batch", "B"),
    _optional("timing_stop", _TEXT, "Why step timing ended: converged, quiet, enough or time"),
    _optional("foreign_cpu_share", _REAL, "Share of the machine's cores that others used while steps were timed"),
    _optional("warm_up_step_count", _WHOLE, "Steps of the method run before the first sample"),
    _optional("steps_counted", _WHOLE, "Steps of the method that ran to their end in the passes of memory and time"),
    _optional("phases", pa.list_(_PHASE), "How long the stretches of the process took"),
    _optional("first_step_seconds", _REAL, "The very first step, with lazy initialisation", "s"),
    _optional("first_loss", _REAL, "Loss of the final module in the first step"),
    _optional("last_loss", _REAL, "Loss of the final module in the last timed step"),
    _optional("device_uuid", _TEXT, "Which of a machine's GPUs it was"),
    _optional("flags", _WORDS, "Words for whatever makes the row suspicious; empty: nothing was seen"),
)
ENVIRONMENT = (
    _required("peakbench_version", _TEXT, "peakbench that made the measurement"),
    _required("simulator_version", _WHOLE, "Raised whenever simulated bytes may change"),
    _required("torch_version", _TEXT, "torch that ran the step"),
    _optional("torchvision_version", _TEXT, "torchvision beside it"),
    _optional("cuda_version", _TEXT, "CUDA torch was built for"),
    _optional("cudnn_version", _WHOLE, "cuDNN torch runs with"),
    _optional("driver_version", _TEXT, "NVIDIA driver"),
    _required("python_version", _TEXT, "Python that ran the case"),
    _required("operating_system", _TEXT, "Operating system of the machine"),
    _required("device_name", _TEXT, "Device the readings refer to; for simulated readings the modelled one"),
    _optional("device_memory_bytes", _WHOLE, "Memory of that device", "B"),
    _required("cpu_name", _TEXT, "CPU model of the machine"),
    _required("cpu_count", _WHOLE, "Logical cores the process may use"),
    _required("thread_count", _WHOLE, "Threads torch computes with"),
    _optional("git_commit", _TEXT, "Commit of the peakbench checkout"),
    _optional("git_dirty", _TRUTH, "Whether that checkout had uncommitted changes"),
    _optional("container", _TEXT, "docker, podman, kubernetes, .. or none; null: not looked at"),
    _optional("allocator_settings", _TEXT, "PYTORCH_ALLOC_CONF of the shell, for cases without their own settings"),
    _optional("default_clock_hertz", _WHOLE, "Default clock of the GPU's multiprocessors", "Hz"),
    _optional("set_clock_hertz", _WHOLE, "The clock that is set for them now", "Hz"),
    _optional("persistence_mode", _TRUTH, "Whether the driver stays loaded between processes"),
    _optional("mig_mode", _TRUTH, "Whether the GPU is divided into instances"),
    _optional("command", _TEXT, "Command line of the run"),
    _optional("cpu_capability", _TEXT, "Vector instructions of torch's own kernels"),
    _optional("cpu_governor", _TEXT, "What chooses the CPU's clock; null: not told"),
    _optional("cpu_limit", _REAL, "Cores that control groups leave to the process; null: no limit known"),
    _optional("memory_limit_bytes", _WHOLE, "Host memory that they leave to it; null: no limit known", "B"),
)

SCHEMA = pa.schema(
    [*CASE, *OUTCOME, *READINGS, *ENVIRONMENT],
    metadata={"kind": KIND, "schema_version": str(SCHEMA_VERSION)},
)
