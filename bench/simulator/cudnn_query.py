"""Asks cuDNN which plan it would choose on a device that is not there, and how much workspace that plan needs.

cuDNN's backend API is called through ctypes in its device-less mode (from 9.8 on): a JSON description stands for the
device, and CUDA is never initialised. The steps are those of torch's `aten/src/ATen/native/cudnn/Conv_v8.cpp` with
`cudnn.benchmark` off: engine configurations of heuristic mode A, without those that convert inputs down and, for
float32 without TF32, those on tensor cores; the first that gives a plan is taken; else the same with the fallback list.
Needs neither torch nor a GPU.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Direction = Literal["forward", "input_gradient", "weight_gradient"]

OLDEST_VERSION = 90800
"""The first cuDNN with a device-less mode."""

# Names and values of cudnn_graph.h.
_CONVOLUTION, _ENGINE, _ENGINE_CONFIG, _HEURISTIC, _PLAN = 1, 2, 3, 4, 5
_GRAPH, _TENSOR, _DEVICE = 15, 17, 38
_TYPE_DATA_TYPE, _TYPE_BOOLEAN, _TYPE_INT64, _TYPE_FLOAT, _TYPE_DOUBLE = 1, 2, 3, 4, 5
_TYPE_CONVOLUTION_MODE, _TYPE_HEURISTIC_MODE, _TYPE_NOTE, _TYPE_DESCRIPTOR, _TYPE_CHAR = 7, 8, 11, 15, 24
_DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}
_CROSS_CORRELATION = 1
_MODE_A, _MODE_FALLBACK = 3, 2
_NOTE_TENSOR_CORE, _NOTE_DOWN_CONVERT = 0, 1
_NOTE_COUNT = 32
_ALIGNMENT_BYTES = 32
"""What torch says of its blocks, which lie at multiples of 512."""

# Per direction: descriptor, then the attributes alpha, beta, convolution, w, x, y.
_OPERATIONS: dict[Direction, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "forward": (10, (700, 701, 702, 703, 704, 705)),
    "weight_gradient": (11, (712, 713, 714, 715, 716, 717)),
    "input_gradient": (12, (706, 707, 708, 709, 710, 711)),
}

_CTYPES: dict[int, Any] = {
    _TYPE_DATA_TYPE: ctypes.c_int,
    _TYPE_BOOLEAN: ctypes.c_bool,
    _TYPE_INT64: ctypes.c_int64,
    _TYPE_FLOAT: ctypes.c_float,
    _TYPE_DOUBLE: ctypes.c_double,
    _TYPE_CONVOLUTION_MODE: ctypes.c_int,
    _TYPE_HEURISTIC_MODE: ctypes.c_int,
    _TYPE_NOTE: ctypes.c_int,
    _TYPE_DESCRIPTOR: ctypes.c_void_p,
}


class CudnnMissingError(ImportError):
    """No cuDNN library that can be asked."""


class NoPlanError(RuntimeError):
    """CuDNN has no plan for a convolution on a device: torch would fail there too."""


class _StatusError(RuntimeError):
    """A call of cuDNN that did not succeed."""


@cache
def load_library() -> ctypes.CDLL:
    """The cuDNN library: that of the Python environment, else that of the system.

    Raises:
        CudnnMissingError: there is none, or it is older than 9.8.
    """
    problems: list[str] = []
    for path in (*_list_packaged("cudnn", "libcudnn.so.9"), "libcudnn.so.9"):
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            problems.append(str(error))
            continue
        library.cudnnGetVersion.restype = ctypes.c_size_t
        if library.cudnnGetVersion() < OLDEST_VERSION:
            problems.append(f"{path} is version {library.cudnnGetVersion()}")
            continue
        try:
            _load_cublas(library)
        except OSError as error:
            problems.append(str(error))
            continue
        return library
    raise CudnnMissingError(
        "workspaces from 'cudnn' need cuDNN 9.8 or later: pip install 'peakbench[cudnn]', or take the workspaces from"
        f" 'table' or 'bound' ({'; '.join(dict.fromkeys(problems))})"
    )


def library_version() -> str:
    """Version of cuDNN, such as `9.26.0`.

    Raises:
        CudnnMissingError: there is no cuDNN.
    """
    version = load_library().cudnnGetVersion()
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _load_cublas(library: ctypes.CDLL) -> None:
    """Load what cuDNN's heuristics look for by name: without it, cuDNN ends the process.

    Raises:
        OSError: it is not there.
    """
    library.cudnnGetCudartVersion.restype = ctypes.c_size_t
    name = f"libcublasLt.so.{library.cudnnGetCudartVersion() // 1000}"
    packaged = _list_packaged("*", name)
    ctypes.CDLL(str(packaged[0]) if packaged else name)


def _list_packaged(package: str, name: str) -> list[Path]:
    """Libraries in the packages of NVIDIA for Python (nvidia-cudnn-cu12, nvidia-cudnn-cu13, ..)."""
    spec = find_spec("nvidia")
    folders = dict.fromkeys((spec and spec.submodule_search_locations) or ())
    return [path for folder in folders for path in sorted(Path(folder).glob(f"{package}/lib/{name}"))]


class PlanQuery:
    """Workspaces of the plans that cuDNN would choose on one device."""

    def __init__(self, description: str) -> None:
        """Describe the device.

        Args:
            description: JSON of cuDNN's device properties.

        Raises:
            CudnnMissingError: there is no cuDNN that can be asked.
            ValueError: cuDNN does not accept the description.
        """
        self._library = load_library()
        self._device = _Descriptor(self._library, _DEVICE)
        try:
            self._device.set_text(2702, description)
            self._device.finalize()
        except _StatusError as error:
            raise ValueError(f"cuDNN does not accept the device's description ({error}): {description}") from error

    def workspace_bytes(
        self,
        direction: Direction,
        *,
        dtype: str,
        tf32: bool,
        channels_last: bool,
        x: Sequence[int],
        w: Sequence[int],
        y: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        of_trials: bool = False,
    ) -> int:
        """Bytes of workspace of the plan torch would run; x, w and y are as in the forward of cuDNN's convolution.

        Args:
            direction: which of the three is asked for.
            dtype: of all three tensors; `float32`, `float64`, `float16` or `bfloat16`.
            tf32: whether float32 may run as TF32.
            channels_last: whether the channel is the fastest dimension of x, w and y.
            x: shape, (batch, channels, ..).
            w: shape, (output channels, channels / groups, ..); the groups follow from x and w.
            y: shape, (batch, output channels, ..).
            stride: per spatial dimension.
            padding: per spatial dimension.
            dilation: per spatial dimension.
            of_trials: ask for the largest workspace of all plans, which `cudnn.benchmark` takes to try them.

        Raises:
            NoPlanError: cuDNN has none.
        """
        with _descriptors(self._library) as make:
            tensors = [
                _make_tensor(make, name, shape, dtype, channels_last=channels_last)
                for name, shape in (("w", w), ("x", x), ("y", y))
            ]
            convolution = _make_convolution(make, dtype, stride, padding, dilation)
            kind, (alpha, beta, of, *places) = _OPERATIONS[direction]
            operation = make(kind)
            operation.set(of, _TYPE_DESCRIPTOR, convolution.pointer)
            for place, tensor in zip(places, tensors, strict=True):
                operation.set(place, _TYPE_DESCRIPTOR, tensor.pointer)
            scalar = _TYPE_DOUBLE if dtype == "float64" else _TYPE_FLOAT
            operation.set(alpha, scalar, 1.0)
            operation.set(beta, scalar, 0.0)
            graph = make(_GRAPH)
            try:
                operation.finalize()
                graph.set(801, _TYPE_DESCRIPTOR, operation.pointer)
                graph.finalize()
            except _StatusError as error:
                raise NoPlanError(f"cuDNN rejects the convolution ({error})") from error
            unwanted = {_NOTE_DOWN_CONVERT}
            if dtype == "float32" and not tf32:
                unwanted.add(_NOTE_TENSOR_CORE)
            sizes: list[int] = []
            for mode in (_MODE_A, _MODE_FALLBACK):
                for config in self._list_configs(make, graph, mode):
                    if unwanted.isdisjoint(_notes_of(make, config)):
                        with suppress(_StatusError):
                            sizes.append(self._build_plan(make, config))
                            if not of_trials:
                                return sizes[0]
        if not sizes:
            raise NoPlanError("cuDNN finds no engine that runs the convolution")
        return max(sizes)

    def _list_configs(self, make: "_Maker", graph: "_Descriptor", mode: int) -> list["_Descriptor"]:
        heuristic = make(_HEURISTIC)
        heuristic.set(201, _TYPE_DESCRIPTOR, graph.pointer)
        heuristic.set(200, _TYPE_HEURISTIC_MODE, mode)
        heuristic.set(204, _TYPE_DESCRIPTOR, self._device.pointer)
        try:
            heuristic.finalize()
            configs = [make(_ENGINE_CONFIG) for _ in range(heuristic.count(202, _TYPE_DESCRIPTOR))]
            found = heuristic.get(202, _TYPE_DESCRIPTOR, *(config.pointer for config in configs)) if configs else []
        except _StatusError:
            return []
        return configs[: len(found)]

    def _build_plan(self, make: "_Maker", config: "_Descriptor") -> int:
        plan = make(_PLAN)
        plan.set(401, _TYPE_DESCRIPTOR, config.pointer)
        plan.set(407, _TYPE_DESCRIPTOR, self._device.pointer)
        plan.finalize()
        return int(plan.get(402, _TYPE_INT64, 0)[0])


class _Descriptor:
    """One descriptor of cuDNN's backend API."""

    def __init__(self, library: ctypes.CDLL, kind: int) -> None:
        self._library = library
        self.pointer = ctypes.c_void_p()
        _check(library.cudnnBackendCreateDescriptor(kind, ctypes.byref(self.pointer)))

    def set(self, name: int, kind: int, *values: Any) -> None:
        array = (_CTYPES[kind] * len(values))(*(getattr(value, "value", value) for value in values))
        _check(self._library.cudnnBackendSetAttribute(self.pointer, name, kind, ctypes.c_int64(len(values)), array))

    def set_text(self, name: int, text: str) -> None:
        data = text.encode()
        _check(self._library.cudnnBackendSetAttribute(self.pointer, name, _TYPE_CHAR, ctypes.c_int64(len(data)), data))

    def get(self, name: int, kind: int, *initial: Any) -> list[Any]:
        """Values of an attribute, at most as many as there are initial ones."""
        array = (_CTYPES[kind] * len(initial))(*(getattr(value, "value", value) for value in initial))
        count = ctypes.c_int64(0)
        _check(
            self._library.cudnnBackendGetAttribute(
                self.pointer, name, kind, ctypes.c_int64(len(initial)), ctypes.byref(count), array
            )
        )
        return list(array)[: count.value]

    def count(self, name: int, kind: int) -> int:
        count = ctypes.c_int64(0)
        _check(
            self._library.cudnnBackendGetAttribute(
                self.pointer, name, kind, ctypes.c_int64(0), ctypes.byref(count), None
            )
        )
        return count.value

    def finalize(self) -> None:
        _check(self._library.cudnnBackendFinalize(self.pointer))

    def destroy(self) -> None:
        self._library.cudnnBackendDestroyDescriptor(self.pointer)


class _Maker:
    """Makes descriptors that live as long as one query."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._made: list[_Descriptor] = []

    def __call__(self, kind: int) -> _Descriptor:
        self._made.append(_Descriptor(self._library, kind))
        return self._made[-1]

    def destroy(self) -> None:
        while self._made:
            self._made.pop().destroy()


@contextmanager
def _descriptors(library: ctypes.CDLL) -> Iterator[_Maker]:
    maker = _Maker(library)
    try:
        yield maker
    finally:
        maker.destroy()


def _check(status: int) -> None:
    if status:
        raise _StatusError(f"cuDNN status {status}")


def _make_tensor(make: _Maker, name: str, shape: Sequence[int], dtype: str, *, channels_last: bool) -> _Descriptor:
    tensor = make(_TENSOR)
    tensor.set(901, _TYPE_DATA_TYPE, _DATA_TYPES[dtype])
    tensor.set(902, _TYPE_INT64, *shape)
    tensor.set(903, _TYPE_INT64, *_strides(shape, channels_last=channels_last))
    tensor.set(906, _TYPE_INT64, ord(name))
    tensor.set(900, _TYPE_INT64, _ALIGNMENT_BYTES)
    tensor.finalize()
    return tensor


def _strides(shape: Sequence[int], *, channels_last: bool) -> list[int]:
    spatial = range(len(shape) - 1, 1, -1)
    strides, step = [0] * len(shape), 1
    for dimension in (1, *spatial, 0) if channels_last else (*spatial, 1, 0):
        strides[dimension] = step
        step *= shape[dimension]
    return strides


def _make_convolution(
    make: _Maker, dtype: str, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> _Descriptor:
    convolution = make(_CONVOLUTION)
    convolution.set(100, _TYPE_DATA_TYPE, _DATA_TYPES["float64" if dtype == "float64" else "float32"])
    convolution.set(101, _TYPE_CONVOLUTION_MODE, _CROSS_CORRELATION)
    convolution.set(106, _TYPE_INT64, len(stride))
    convolution.set(103, _TYPE_INT64, *stride)
    convolution.set(105, _TYPE_INT64, *padding)
    convolution.set(104, _TYPE_INT64, *padding)
    convolution.set(102, _TYPE_INT64, *dilation)
    convolution.finalize()
    return convolution


def _notes_of(make: _Maker, config: _Descriptor) -> set[int]:
    """Numerical notes of the engine of a configuration."""
    engine = make(_ENGINE)
    config.get(300, _TYPE_DESCRIPTOR, engine.pointer)
    return set(engine.get(1303, _TYPE_NOTE, *[0] * _NOTE_COUNT))
