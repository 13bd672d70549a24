"""The Parquet schema: every column of the flattened record with its type, unit and meaning.

Columns and their order are those of `Measurement.to_row()`; a column may be null where the record allows None. A file
says in its metadata what it holds (`kind`) and by which version of this table (`schema_version`).
"""

import pyarrow as pa

KIND = "peakbench.measurements"
SCHEMA_VERSION = 3
"""Raised whenever a column is added, removed, or changes its type or meaning; `results/migrate.py` reads what was."""

_TEXT = pa.string()
_WHOLE = pa.int64()
_REAL = pa.float64()
_TRUTH = pa.bool_()


def _required(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"unit": unit, "description": description})


def _optional(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=True, metadata={"unit": unit, "description": description})


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
)
OUTCOME = (
    _required("provenance", _TEXT, "simulated or measured"),
    _required("device", _TEXT, "cuda or cpu: the kind of device the readings refer to"),
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
    _optional("peak_reserved_bytes", _WHOLE, "Highest sum of allocator segments in a steady step", "B"),
    _optional("first_step_peak_allocated_bytes", _WHOLE, "Highest sum of allocator blocks in the first step", "B"),
    _optional("least_memory_bytes", _WHOLE, "Least memory of segments with which three simulated steps run", "B"),
    _optional("peak_phase", _TEXT, "Where the simulated peak lies, in words"),
    _optional("workspace", _TEXT, "Source of the convolution workspaces in the peaks; none: not modelled"),
    _optional("step_seconds", pa.list_(_REAL), "Training steps of the method, alternated with E2E", "s"),
    _optional("reference_step_seconds", pa.list_(_REAL), "E2E steps of the same blocks, paired by position", "s"),
    _optional("inference_seconds", pa.list_(_REAL), "Forward passes of the deployed network", "s"),
    _optional("reference_inference_seconds", pa.list_(_REAL), "E2E passes paired with them by position", "s"),
    _optional("timing_stop", _TEXT, "Why step timing ended: converged, enough or time"),
    _optional("first_step_seconds", _REAL, "The very first step, with lazy initialisation", "s"),
    _optional("first_loss", _REAL, "Loss of the final module in the first step"),
    _optional("last_loss", _REAL, "Loss of the final module in the last timed step"),
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
)

SCHEMA = pa.schema(
    [*CASE, *OUTCOME, *READINGS, *ENVIRONMENT],
    metadata={"kind": KIND, "schema_version": str(SCHEMA_VERSION)},
)
