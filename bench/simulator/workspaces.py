"""Workspaces of cuDNN's convolutions: memory that a convolution borrows while it runs. Imports no torch.

cuDNN chooses an algorithm for every convolution, and the algorithm decides how much workspace it needs: from nothing to
more than input and output together. A source of workspaces answers for one convolution at a time; which one was asked
belongs beside every number, as `WorkspaceSource.label`:

- `measured`: a table the user recorded, best on the real device.
- `cudnn`: cuDNN itself is asked, for a device that need not be there (`bench/simulator/cudnn_query.py`).
- `table`: cuDNN's answers for the networks of this package, shipped for common devices.
- `bound`: a rule of thumb from the shapes, `bound_bytes`.
- `none`: no workspace.

With `torch.backends.cudnn.benchmark` torch tries every plan at the first call of a convolution, in a workspace as large
as the largest of them needs; the source `cudnn` knows its size (`WorkspaceSource.with_trials`). Which plan wins is a
matter of time, so that later calls are answered as without benchmark.

Known limitations: `deterministic` is taken as off, and the memory that trials may take as unlimited; tensors that do
not begin at a multiple of 32 bytes may get another plan on the device. Where torch runs a convolution without cuDNN
(`runs_on_cudnn`), the answer is 0, although torch's own kernels may borrow memory too.
"""

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from bench.ground_truth import GroundTruthError, read_ground_truth
from bench.simulator.cudnn_query import Direction, PlanQuery
from bench.simulator.profiles import DeviceProfile

SourceName = Literal["none", "table", "cudnn", "bound", "measured"]
SOURCES: tuple[SourceName, ...] = get_args(SourceName)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

ELEMENT_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""Data types of convolutions and the bytes of an element."""
TENSOR_CORES_SINCE = {"float16": (7, 0), "tf32": (8, 0), "bfloat16": (8, 0)}
"""First compute capability whose tensor cores take a data type."""

_ONE_DIMENSIONAL, _TWO_DIMENSIONAL = 3, 4  # dimensions of an input


class UnknownSourceError(ValueError):
    """A source of workspaces that does not exist, or that this profile cannot give."""


class WorkspaceTableError(ValueError):
    """A table of workspaces that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionSignature:
    """All that decides which plan cuDNN chooses for one of the three convolutions of a layer."""

    direction: Direction
    dtype: str
    """`float32`, `float64`, `float16` or `bfloat16`."""
    tf32: bool = True
    """Whether float32 may run as TF32: `torch.backends.cudnn.allow_tf32`. Means nothing for other types."""
    channels_last: bool = False
    """Whether torch runs it in channels_last: input or weight suggest that memory format."""
    input_shape: tuple[int, ...]
    """Of the layer's input, (batch, channels, ..), whatever the direction."""
    weight_shape: tuple[int, ...]
    """(output channels, channels / groups, ..); transposed, (channels, output channels / groups, ..)."""
    stride: tuple[int, ...]
    """Per spatial dimension, as the next three."""
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...] = ()
    """Of a transposed convolution; empty for none."""
    groups: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked.

        Raises:
            ValueError: an unknown direction or data type, or shapes that do not fit together.
        """
        if self.direction not in DIRECTIONS:
            raise ValueError(f"unknown direction '{self.direction}': there are {', '.join(DIRECTIONS)}")
        if self.dtype not in ELEMENT_BYTES:
            raise ValueError(f"no convolution in '{self.dtype}': there are {', '.join(ELEMENT_BYTES)}")
        spatial = len(self.input_shape) - 2
        lengths = {len(self.weight_shape) - 2, len(self.stride), len(self.padding), len(self.dilation)}
        if spatial < 1 or lengths != {spatial} or len(self.output_padding) not in (0, spatial):
            raise ValueError(f"a convolution whose shapes do not agree in their number of dimensions: {self}")
        channels = self.weight_shape[0] if self.transposed else self.weight_shape[1] * self.groups
        if self.input_shape[1] != channels:
            raise ValueError(f"input and weight differ in channels ({self.input_shape[1]}, {channels}): {self}")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the layer's output, (batch, output channels, ..)."""
        sizes, kernels = self.input_shape[2:], self.weight_shape[2:]
        spans = [dilation * (kernel - 1) + 1 for dilation, kernel in zip(self.dilation, kernels, strict=True)]
        if self.transposed:
            extra = self.output_padding or (0,) * len(sizes)
            channels = self.weight_shape[1] * self.groups
            spatial = (
                (size - 1) * stride - 2 * padding + span + more
                for size, stride, padding, span, more in zip(
                    sizes, self.stride, self.padding, spans, extra, strict=True
                )
            )
        else:
            channels = self.weight_shape[0]
            spatial = (
                (size + 2 * padding - span) // stride + 1
                for size, stride, padding, span in zip(sizes, self.stride, self.padding, spans, strict=True)
            )
        return (self.input_shape[0], channels, *spatial)

    @property
    def input_bytes(self) -> int:
        """Bytes of the layer's input."""
        return math.prod(self.input_shape) * ELEMENT_BYTES[self.dtype]

    @property
    def output_bytes(self) -> int:
        """Bytes of the layer's output."""
        return math.prod(self.output_shape) * ELEMENT_BYTES[self.dtype]


def runs_on_cudnn(signature: ConvolutionSignature, capability: tuple[int, int]) -> bool:
    """Whether torch gives a convolution to cuDNN at all (`ConvParams` of `aten/src/ATen/native/Convolution.cpp`).

    It does not with bfloat16 below compute capability 8.0, and not with most depthwise convolutions whose channels are
    not last, for which it has kernels of its own.
    """
    if signature.dtype == "bfloat16" and capability < TENSOR_CORES_SINCE["bfloat16"]:
        return False
    depthwise = (
        not signature.transposed
        and 1 < signature.groups == signature.input_shape[1]
        and len(signature.input_shape) >= _ONE_DIMENSIONAL
    )
    return not depthwise or signature.channels_last or (signature.dtype == "float16" and _is_faster(signature))


def _is_faster(signature: ConvolutionSignature) -> bool:
    """Depthwise convolutions in float16 that torch's authors found faster in cuDNN (`use_cudnn_depthwise`)."""
    signature = _as_two_dimensional(signature)
    if len(signature.input_shape) != _TWO_DIMENSIONAL:
        return False
    batch, channels, height, width = signature.input_shape
    kernel, stride = signature.weight_shape[3], signature.stride[1]
    if channels < 32 or set(signature.dilation) != {1} or (signature.stride[0] != stride and height != 1):  # noqa: PLR2004
        return False
    if height == 1 and stride == 1:
        return True
    if signature.weight_shape[2] != kernel or kernel not in (1, 3, 5) or width < 7:  # noqa: PLR2004
        return False
    return stride == 1 or (stride == 2 and _is_faster_at_stride_2(batch, channels, width, kernel))  # noqa: PLR2004


def _is_faster_at_stride_2(batch: int, channels: int, width: int, kernel: int) -> bool:
    """`check_cudnn_depthwise_workload_with_filter` of `aten/src/ATen/native/Convolution.cpp`."""
    if batch == 1:
        return kernel != 1 or width <= 28  # noqa: PLR2004
    if kernel == 1:
        return batch <= 16 and channels >= 128 and width <= 7  # noqa: PLR2004
    return channels >= 512 or (channels >= 256 and width >= 28)  # noqa: PLR2004


def bound_bytes(signature: ConvolutionSignature, capability: tuple[int, int]) -> int:
    """Workspace by a rule of thumb: input and output once more, where cuDNN turns both to the other memory format.

    It does so for the tensor cores, which want channels last: with TF32 and bfloat16 from compute capability 8.0 on,
    with float16 from 7.0 on. Without tensor cores it turns channels_last float32 back. Elsewhere the rule says 0.

    Held against the shipped tables: contiguous and without tensor cores cuDNN takes 0.2 times input and output at most,
    and mostly nothing; channels_last, it takes nothing or about input and output. With tensor cores this is a typical
    value, not a strict bound. On A100, H100 and H200 about half of the layers are within 10 % of it and most others
    need nothing; on an RTX 3090 or 4090 few in TF32 need anything. The other way, some layers in bfloat16 take 1.6
    times as much, weight gradients up to 3 times, an A100's input gradients up to 5.
    """
    kind = "tf32" if signature.dtype == "float32" and signature.tf32 else signature.dtype
    since = TENSOR_CORES_SINCE.get(kind)
    if kind in ("float64", "bfloat16") and (since is None or capability < since):
        return 0  # torch does not give cuDNN these in channels_last
    on_tensor_cores = since is not None and capability >= since
    return 0 if signature.channels_last == on_tensor_cores else signature.input_bytes + signature.output_bytes


class WorkspaceSource:
    """Bytes of workspace by convolution; remembers where it had to fall back on the rule of thumb."""

    def __init__(
        self,
        name: SourceName,
        capability: tuple[int, int],
        find: Callable[[ConvolutionSignature], int | None],
        find_trial: Callable[[ConvolutionSignature], int] | None = None,
    ) -> None:
        """Make a source; `workspace_source` makes those that there are.

        Args:
            name: of the source.
            capability: compute capability of the device.
            find: bytes of a convolution that cuDNN runs; None where they are not known.
            find_trial: bytes that trying all its plans takes; None where no one can say.
        """
        self.name: SourceName = name
        self.unknown: set[ConvolutionSignature] = set()
        """Convolutions the source does not know, for which `bound_bytes` answered."""
        self._capability = capability
        self._find = find
        self._find_trial = find_trial
        self._known: dict[ConvolutionSignature, int] = {}
        self._trials: dict[ConvolutionSignature, int] = {}
        self._tried: set[ConvolutionSignature] | None = None
        """Convolutions called already, where their first call tries all plans; None where it does not."""

    def __call__(self, signature: ConvolutionSignature) -> int:
        """Bytes of the workspace of one convolution, before any rounding by the allocator.

        Raises:
            NoPlanError: the source is `cudnn`, and cuDNN cannot run the convolution on this device.
        """
        size = self._known.get(signature)
        if size is None:
            size = self._known[signature] = self._answer(signature)
        if self._tried is None or signature in self._tried:
            return size
        self._tried.add(signature)
        return max(size, self._answer_trial(signature))

    def with_trials(self) -> "WorkspaceSource":
        """This source for one training with `cudnn.benchmark`: the first call of a convolution tries all plans.

        Where nobody can say what the trials take, only the label tells.
        """
        source = copy(self)
        source._tried = set()  # noqa: SLF001 - of this class
        return source

    @property
    def asked(self) -> tuple[ConvolutionSignature, ...]:
        """Convolutions it answered, in the order of their first call."""
        return tuple(self._known)

    @property
    def label(self) -> str:
        """The source as it belongs beside a number, such as `table` or `table, 3 of 120 by bound`."""
        label = f"{self.name}, {len(self.unknown)} of {len(self._known)} by bound" if self.unknown else self.name
        if self._tried is None:
            return label
        return f"{label}, {'with' if self._find_trial else 'without the'} trials of cudnn.benchmark"

    def _answer_trial(self, signature: ConvolutionSignature) -> int:
        if self._find_trial is None or not self._reaches_cudnn(signature):
            return 0
        if signature not in self._trials:
            self._trials[signature] = self._find_trial(signature)
        return self._trials[signature]

    def _reaches_cudnn(self, signature: ConvolutionSignature) -> bool:
        empty = 0 in (*signature.input_shape, *signature.output_shape, *signature.weight_shape)
        return not empty and runs_on_cudnn(signature, self._capability)

    def _answer(self, signature: ConvolutionSignature) -> int:
        if not self._reaches_cudnn(signature):
            return 0
        size = self._find(signature)
        if size is None:
            self.unknown.add(signature)
            size = bound_bytes(signature, self._capability)
        return size


def workspace_source(name: str, profile: DeviceProfile, *, measured: Path | str | None = None) -> WorkspaceSource:
    """The source of this name for a device.

    `table` and `measured` answer a convolution that is not in their table by `bound_bytes`, and say so in their label.

    Args:
        name: one of `SOURCES`.
        profile: the device.
        measured: table file of the source `measured`; see `read_table`.

    Raises:
        UnknownSourceError: no such source, or the profile or the call lacks what it needs.
        CudnnMissingError: the source is `cudnn`, and there is no cuDNN to ask.
        WorkspaceTableError: a table that cannot be read.
    """
    if name not in SOURCES:
        close = get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(SOURCES)}"
        raise UnknownSourceError(f"unknown source of workspaces '{name}': {hint}")
    if (name == "measured") != (measured is not None):
        raise UnknownSourceError(
            f"a file of measured workspaces and the source 'measured' go together (source: '{name}')"
        )
    finders: dict[str, Callable[[], Callable[[ConvolutionSignature], int | None]]] = {
        "none": lambda: lambda _: 0,
        "bound": lambda: lambda signature: bound_bytes(signature, profile.capability),
        "table": lambda: _find_in_table(_shipped_table(profile), profile.capability),
        "measured": lambda: _find_in_table(Path(measured or "").expanduser(), profile.capability),
        "cudnn": lambda: _ask_cudnn(profile),
    }
    trial = _ask_cudnn(profile, of_trials=True) if name == "cudnn" else None
    return WorkspaceSource(name, profile.capability, finders[name](), trial)


def _shipped_table(profile: DeviceProfile) -> Path:
    if profile.table is None:
        raise UnknownSourceError(
            f"no table of workspaces is shipped for device '{profile.name}': take them from 'cudnn' or 'bound'"
        )
    return profile.table


def _find_in_table(path: Path, capability: tuple[int, int]) -> Callable[[ConvolutionSignature], int | None]:
    return _find_among(read_table(path), capability)


def source_of_lines(lines: Sequence[str], path: Path, capability: tuple[int, int]) -> WorkspaceSource:
    """The source `measured` of the lines of a table; `path` is where they are from.

    Raises:
        WorkspaceTableError: a missing column or number; says where.
    """
    return WorkspaceSource("measured", capability, _find_among(parse_table(lines, path), capability))


def _find_among(
    sizes: Mapping[ConvolutionSignature, int], capability: tuple[int, int]
) -> Callable[[ConvolutionSignature], int | None]:
    def key(signature: ConvolutionSignature) -> ConvolutionSignature:
        signature = canonical(signature)
        # TF32 does not exist below 8.0; cuDNN answers the same with and without.
        return signature if capability >= TENSOR_CORES_SINCE["tf32"] else replace(signature, tf32=False)

    table = {key(signature): size for signature, size in sizes.items()}
    return lambda signature: table.get(key(signature))


def _ask_cudnn(profile: DeviceProfile, *, of_trials: bool = False) -> Callable[[ConvolutionSignature], int]:
    if profile.cudnn_json is None:
        raise UnknownSourceError(
            f"device profile '{profile.name}' has no 'cudnn' part, which a query needs: take 'bound' or 'measured'"
        )
    query = _open_query(profile.cudnn_json)

    def ask(signature: ConvolutionSignature) -> int:
        signature = _as_two_dimensional(signature)
        direction, x, y = signature.direction, signature.input_shape, signature.output_shape
        if signature.transposed:  # a transposed convolution is the input gradient of a convolution, and the other way
            x, y = y, x
            direction = _OF_TRANSPOSED[direction]
        return query.workspace_bytes(
            direction,
            dtype=signature.dtype,
            tf32=signature.tf32,
            # torch does not give cuDNN float64 in channels_last
            channels_last=signature.channels_last and signature.dtype != "float64",
            x=x,
            w=signature.weight_shape,
            y=y,
            stride=signature.stride,
            padding=signature.padding,
            dilation=signature.dilation,
            of_trials=of_trials,
        )

    return ask


_OF_TRANSPOSED: dict[Direction, Direction] = {
    "forward": "input_gradient",
    "input_gradient": "forward",
    "weight_gradient": "weight_gradient",
}


@cache
def _open_query(description: str) -> PlanQuery:
    return PlanQuery(description)


def _as_two_dimensional(signature: ConvolutionSignature) -> ConvolutionSignature:
    """A convolution of sequences as torch gives it to cuDNN: as one of images of height 1."""
    if len(signature.input_shape) != _ONE_DIMENSIONAL:
        return signature
    batch, channels, length = signature.input_shape
    outer, inner, kernel = signature.weight_shape
    return replace(
        signature,
        input_shape=(batch, channels, 1, length),
        weight_shape=(outer, inner, 1, kernel),
        stride=(1, *signature.stride),
        padding=(0, *signature.padding),
        dilation=(1, *signature.dilation),
        output_padding=(0, *signature.output_padding) if signature.output_padding else (),
    )


def canonical(signature: ConvolutionSignature) -> ConvolutionSignature:
    """The signature under which a table keeps a convolution: TF32 off where it means nothing."""
    if signature.tf32 and signature.dtype != "float32":
        signature = replace(signature, tf32=False)
    if signature.output_padding and not any(signature.output_padding):
        signature = replace(signature, output_padding=())
    return signature


# --- tables: CSV, one layer per row, its three workspaces in bytes ----------------------------------------------------

_LISTS = ("input_shape", "weight_shape", "stride", "padding", "dilation", "output_padding")
_NUMBER = re.compile(r"\d+")
_FLAGS = {"0": False, "1": True}


def read_table(path: Path) -> dict[ConvolutionSignature, int]:
    """Workspaces in bytes by `canonical` signature.

    A table is a CSV file: a row for a layer, a column for every field of `ConvolutionSignature` but the direction, and
    a column of bytes for every direction, empty or missing where not known. Lists are written `1024x3x32x32`, flags 0
    or 1. A column whose field has a default may be missing; so may `dilation` where it is 1. Lines that begin with `#`
    are comments. Of a file of ground truth (`.json`) its workspaces are read.

    Raises:
        WorkspaceTableError: a missing file, column or number; says where.
    """
    try:
        if path.suffix == ".json":
            lines = read_ground_truth(path).workspaces
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, GroundTruthError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise WorkspaceTableError(f"cannot read the table of workspaces {path}: {reason}") from error
    return parse_table(lines, path)


def parse_table(lines: Sequence[str], path: Path) -> dict[ConvolutionSignature, int]:
    """Workspaces of the lines of a table; `path` is where they are from.

    Raises:
        WorkspaceTableError: a missing column or number; says where.
    """
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    table: dict[ConvolutionSignature, int] = {}
    reader = csv.DictReader(line for _, line in numbered)
    missing = {"input_shape", "weight_shape", "stride", "padding", "dtype"} - set(reader.fieldnames or ())
    if missing:
        raise WorkspaceTableError(f"table of workspaces {path}: no column {', '.join(sorted(missing))}")
    for (number, _), row in zip(numbered[1:], reader, strict=False):
        try:
            table.update(_read_row(row))
        except ValueError as error:
            raise WorkspaceTableError(f"table of workspaces {path}, line {number}: {error}") from error
    return table


def _read_row(row: Mapping[Any, Any]) -> Iterator[tuple[ConvolutionSignature, int]]:
    if None in row or None in row.values():
        raise ValueError("not as many cells as columns")
    values: dict[str, Any] = {"dtype": row["dtype"]}
    values |= {name: _read_list(row[name]) for name in _LISTS if name in row}
    values |= {name: _read_flag(row[name]) for name in ("tf32", "channels_last", "transposed") if name in row}
    if "groups" in row:
        values["groups"] = _read_number(row["groups"])
    values.setdefault("dilation", (1,) * len(values["stride"]))
    for direction in DIRECTIONS:
        if row.get(direction):
            yield canonical(ConvolutionSignature(direction=direction, **values)), _read_number(row[direction])


def _read_list(text: str) -> tuple[int, ...]:
    return tuple(map(_read_number, text.split("x"))) if text else ()


def _read_flag(text: str) -> bool:
    if text not in _FLAGS:
        raise ValueError(f"a flag is 0 or 1, not '{text}'")
    return _FLAGS[text]


def _read_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is no whole number")
    return int(text)


def format_table(sizes: Mapping[ConvolutionSignature, int], comments: Iterable[str] = ()) -> str:
    """The CSV text of a table, as `read_table` reads it; columns that hold nothing but defaults are left out.

    Args:
        sizes: bytes by signature.
        comments: lines put before the table.
    """
    layers: dict[ConvolutionSignature, dict[str, int]] = {}
    for signature, size in sizes.items():
        layer = replace(canonical(signature), direction=DIRECTIONS[0])
        layers.setdefault(layer, {})[signature.direction] = size
    names = [field.name for field in fields(ConvolutionSignature) if field.name != "direction"]
    columns = {name: [getattr(layer, name) for layer in layers] for name in names}
    # TF32 and no TF32 differ for float32 alone, so that column stays.
    defaults = {"channels_last": False, "output_padding": (), "groups": 1, "transposed": False}
    kept = [
        name
        for name in names
        if not (name in defaults and all(value == defaults[name] for value in columns[name]))
        and not (name == "dilation" and all(set(value) == {1} for value in columns[name]))
    ]
    rows = [",".join((*kept, *DIRECTIONS))]
    for layer, found in layers.items():
        cells = [_write(getattr(layer, name)) for name in kept]
        rows.append(",".join((*cells, *(str(found.get(direction, "")) for direction in DIRECTIONS))))
    return "".join(f"{line}\n" for line in (*(f"# {comment}" for comment in comments), *rows))


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(int(value)) if isinstance(value, int) else value
