"""What operators allocate for themselves on CUDA, beside their outputs.

A plan says, for one call, in which order memory comes and goes: temporaries are born and die, outputs are born. An
operator without a rule allocates its outputs in order and nothing else. A rule follows the C++ source it names, and was
held against the events of torch's own CUDA dispatch (`tests/oracle/record_operators.py`).

Known limitations: workspaces of cuDNN are not here; sizes that depend on data (`nonzero`, boolean masks) have no rule;
depthwise convolutions in float16 are taken for torch's own kernels, although cuDNN gets some of them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.simulator.workspaces import ConvolutionSignature, Direction

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Born:
    """A temporary is born."""

    bytes: int
    workspace: bool = False
    """Memory of a library (cuBLAS, cuDNN) rather than of torch."""


@dataclass(frozen=True, slots=True)
class Dies:
    """The temporary born as number `index` of this plan dies."""

    index: int


@dataclass(frozen=True, slots=True)
class Output:
    """Output number `index` is born, with the bytes of its storage or with `bytes`."""

    index: int
    bytes: int | None = None


Plan = Sequence[Born | Dies | Output]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What rules need to know of the device and of torch."""

    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    threads_per_multiprocessor: int = 2048
    torch_version: tuple[int, int] = (2, 15)
    convolution_workspace: Callable[[ConvolutionSignature], int] | None = None
    """Bytes cuDNN takes for one of the three convolutions of a layer; None: nothing."""
    tf32: bool = True
    """Whether cuDNN may run float32 convolutions as TF32."""


def plan_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan | None:
    """Plan of one call; None where the operator has no rule.

    Args:
        func: operator overload, such as `aten.mm.default`.
        args: positional arguments; of tensors only shape, strides and type are looked at.
        kwargs: keyword arguments.
        device: where it would run.
    """
    rule = RULES.get(func)
    if rule is None:
        return None
    draft = _Draft(device)
    rule(draft, *args, **kwargs)
    return tuple(draft.items)


class _Draft:
    """A plan being written. What has no bytes is left out, as the allocator gives nothing for it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.items: list[Born | Dies | Output] = []
        self._count = 0

    def born(self, size: int, *, workspace: bool = False) -> int | None:
        """Bear a temporary; returns what `dies` takes."""
        if size == 0:
            return None
        self.items.append(Born(size, workspace))
        self._count += 1
        return self._count - 1

    def dies(self, *temporaries: int | None) -> None:
        self.items.extend(Dies(temporary) for temporary in temporaries if temporary is not None)

    def passing(self, *sizes: int, workspace: bool = False) -> None:
        """Temporaries that are born one after the other and die in reverse order."""
        self.dies(*reversed([self.born(size, workspace=workspace) for size in sizes]))

    def output(self, index: int = 0, size: int | None = None) -> None:
        if size != 0:
            self.items.append(Output(index, size))

    def outputs(self, count: int) -> None:
        for index in range(count):
            self.output(index)


Rule = Callable[..., None]
"""Takes the draft and the arguments of the call, and writes the plan."""


def _bytes(tensor: Tensor) -> int:
    """Of a dense copy of the tensor."""
    return tensor.numel() * tensor.element_size()


def _copy_if(wanted: bool, tensor: Tensor) -> int:
    return _bytes(tensor) if wanted else 0


# --- reductions (ATen/native/cuda/Reduce.cuh) -------------------------------------------------------------------------

_WARP = 32
_MAX_THREADS = 512
_MIN_VALUES, _MAX_VALUES = 16, 256
"""Values one thread reduces, before and after the input is divided among blocks."""
_MAX_INDEX = 2**31 - 1
_VECTOR = 4
"""Elements loaded at once."""


@dataclass(slots=True)
class _Axis:
    """A dimension of a TensorIterator: extent, and byte strides of output (0 where reduced) and input."""

    extent: int
    output: int
    input: int


def _axes(shape: Sequence[int], strides: Sequence[int], dims: Sequence[int], width: int) -> list[_Axis]:
    """Dimensions of a reduction, reordered and coalesced as TensorIterator does, fastest first.

    Args:
        shape: of the input.
        strides: of the input, in elements.
        dims: reduced dimensions, not negative.
        width: bytes of an element, of the output too.
    """
    axes: list[_Axis] = []
    output_stride = width
    for dim in reversed(range(len(shape))):
        reduced = dim in dims
        axes.append(_Axis(shape[dim], 0 if reduced else output_stride, strides[dim] * width))
        output_stride *= 1 if reduced else shape[dim]
    for last in range(1, len(axes)):
        moving = last
        for place in reversed(range(last)):
            order = _compare(axes[place], axes[moving])
            if order > 0:
                axes[place], axes[moving] = axes[moving], axes[place]
                moving = place
            elif order < 0:
                break
    return _coalesce(axes)


def _compare(first: _Axis, second: _Axis) -> int:
    """Positive where two axes should be swapped, 0 where it does not matter (reorder_dimensions)."""
    if (first.output == 0) != (second.output == 0):
        return 1 if second.output == 0 else -1
    for a, b in ((first.output, second.output), (first.input, second.input)):
        if a == 0 or b == 0:
            continue
        if a != b:
            return -1 if a < b else 1
        if first.extent > second.extent:
            return 1
    return 0


def _coalesce(axes: list[_Axis]) -> list[_Axis]:
    merged = axes[:1]
    for axis in axes[1:]:
        last = merged[-1]
        together = last.extent * last.output == axis.output and last.extent * last.input == axis.input
        if last.extent == 1:
            merged[-1] = axis
        elif axis.extent == 1 or together:
            last.extent *= axis.extent
        else:
            merged.append(axis)
    return merged


def _pieces(axes: list[_Axis]) -> Iterator[list[_Axis]]:
    """Halves of a reduction until 32 bits can index each (with_32bit_indexing)."""
    numel = math.prod(axis.extent for axis in axes)
    output_span = sum((axis.extent - 1) * axis.output for axis in axes)
    input_span = sum((axis.extent - 1) * axis.input for axis in axes)
    if max(numel, output_span + 1, input_span + 1) <= _MAX_INDEX:
        yield axes
        return
    extents = [(axis.extent - 1) * max(axis.output, axis.input) for axis in axes]
    # The outermost of the longest dimensions is cut.
    cut = max(range(len(axes)), key=lambda index: (extents[index], index))
    whole = axes[cut]
    half = whole.extent // 2
    for extent in (half, whole.extent - half):
        part = _Axis(extent, whole.output, whole.input)
        yield from _pieces([*axes[:cut], part, *axes[cut + 1 :]])


def _staging(axes: list[_Axis], width: int, accumulator: int, values: int, device: Device) -> tuple[int, int]:
    """Bytes of the staging buffer and of the semaphores of one kernel; zeros where one block per output is enough.

    Follows setReduceConfig.

    Args:
        axes: dimensions of the reduction, fastest first, reduced ones before the others.
        width: bytes of an input element.
        accumulator: bytes of what a thread accumulates.
        values: `vt0`, loads a thread keeps under way.
        device: multiprocessors and their threads decide how many blocks share an output.
    """
    outputs = math.prod(axis.extent for axis in axes if axis.output)
    inputs = math.prod(axis.extent for axis in axes) // max(outputs, 1)
    reduced = sum(axis.output == 0 for axis in axes)
    fastest_reduced = reduced == len(axes) or axes[0].input < axes[reduced].input
    x_extent, y_extent = (inputs, outputs) if fastest_reduced else (outputs, inputs)
    fastest_stride = axes[0 if fastest_reduced else reduced].input if axes else width
    output_vector = 1
    if fastest_stride == width and axes:
        if fastest_reduced and x_extent > _MAX_THREADS // 4 and len(axes) == 1:
            x_extent //= values
        elif not fastest_reduced:
            output_vector = _output_vector(axes, reduced, width)
            x_extent //= output_vector

    threads = _MAX_THREADS // output_vector
    x_threads, y_threads = (min(_power_below(extent), threads) for extent in (x_extent, y_extent))
    block_width = min(x_threads, _WARP)
    block_height = min(y_threads, threads // block_width)
    block_width = min(x_threads, threads // block_height)

    inputs_at_once, outputs_at_once = (block_width, 1) if fastest_reduced else (1, block_width)
    per_thread = _divide_up(inputs, inputs_at_once)
    if per_thread < min(block_height * _MIN_VALUES, _MAX_VALUES):
        return 0, 0
    per_thread = _divide_up(inputs, inputs_at_once * block_height)
    blocks = _divide_up(outputs // output_vector, outputs_at_once)
    wanted_blocks = device.multiprocessors * (device.threads_per_multiprocessor // (block_width * block_height))
    if per_thread < _MAX_VALUES or blocks > wanted_blocks:
        return 0, 0
    shares = max(
        min(_divide_up(wanted_blocks, blocks), _divide_up(per_thread, _MIN_VALUES)), _divide_up(per_thread, _MAX_VALUES)
    )
    if shares <= 1:
        return 0, 0
    lanes = 1 if fastest_reduced else block_width * output_vector
    return accumulator * outputs * shares * lanes, 4 * blocks


def _output_vector(axes: list[_Axis], reduced: int, width: int) -> int:
    """Outputs one thread computes at once, of which strides and extent must be multiples (get_output_vec_size)."""
    vector = _VECTOR
    for number in [axes[reduced].extent, *(axis.input // width for index, axis in enumerate(axes) if index != reduced)]:
        while number % vector:
            vector //= 2
    return vector


def _power_below(number: int) -> int:
    return 1 << max(number.bit_length() - 1, 0)


def _divide_up(number: int, by: int) -> int:
    return -(-number // by)


def _contiguous_strides(shape: Sequence[int]) -> list[int]:
    strides = [1] * len(shape)
    for dim in reversed(range(len(shape) - 1)):
        strides[dim] = strides[dim + 1] * max(shape[dim + 1], 1)
    return strides


@dataclass(frozen=True, slots=True)
class _Input:
    """What a reduction reads."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    width: int
    """Bytes of an element."""


def _input(tensor: Tensor) -> _Input:
    return _Input(tuple(tensor.shape), tensor.stride(), tensor.element_size())


def _dense(shape: Sequence[int], width: int) -> _Input:
    return _Input(tuple(shape), tuple(_contiguous_strides(shape)), width)


def _reduce(
    draft: _Draft,
    source: _Input,
    dims: Sequence[int] | int | None = None,
    *,
    accumulator: int | None = None,
    values: int = 4,
) -> None:
    """Staging buffers of a reduction (gpu_reduce_kernel).

    Args:
        draft: the plan.
        source: the input.
        dims: what is reduced; None or nothing for all dimensions.
        accumulator: bytes of what a thread accumulates; None for float32, or the input's type where that is wider.
        values: `vt0`, loads a thread keeps under way.
    """
    rank = len(source.shape)
    if 0 in source.shape:
        return
    chosen = [dims] if isinstance(dims, int) else list(dims or range(rank))
    axes = _axes(source.shape, source.strides, [dim % rank for dim in chosen], source.width)
    for piece in _pieces(axes):
        draft.passing(*_staging(piece, source.width, accumulator or max(source.width, 4), values, draft.device))


def _sum(draft: _Draft, source: Tensor, dim: Any = None, *_: Any, dtype: torch.dtype | None = None) -> None:
    """ReduceSumProdKernel.cu; integers and booleans are converted to int64 first (make_reduction)."""
    draft.output()
    floating = source.dtype.is_floating_point
    kind = dtype or (source.dtype if floating else torch.int64)
    if kind == source.dtype or (source.element_size() == 2 and kind == torch.float32):  # noqa: PLR2004
        _reduce(draft, _input(source), dim)
        return
    converted = draft.born(source.numel() * kind.itemsize)
    _reduce(draft, _preserved(source, kind.itemsize), dim)
    draft.dies(converted)


def _preserved(tensor: Tensor, width: int) -> _Input:
    """Layout of a copy of another type: strides are kept where the tensor is dense."""
    if _is_dense(tensor):
        return _Input(tuple(tensor.shape), tensor.stride(), width)
    return _dense(tensor.shape, width)


def _is_dense(tensor: Tensor) -> bool:
    """No holes, no overlaps (is_non_overlapping_and_dense)."""
    expected = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent == 1:
            continue
        if stride != expected:
            return False
        expected *= extent
    return True


def _reduce_same(draft: _Draft, source: Tensor, dim: Any = None, *_: Any, **__: Any) -> None:
    """Maximum and minimum accumulate in the input's type; any and all in a boolean."""
    draft.output()
    _reduce(draft, _input(source), dim, accumulator=source.element_size())


def _any(draft: _Draft, source: Tensor, dim: Any = None, *_: Any) -> None:
    draft.output()
    _reduce(draft, _input(source), dim, accumulator=1)


def _max_dim(draft: _Draft, source: Tensor, dim: int, *_: Any) -> None:
    """TensorCompare.cu: a value and its index per thread, 16 bytes."""
    draft.outputs(2)
    _reduce(draft, _input(source), dim, accumulator=16)


def _argmax(draft: _Draft, source: Tensor, dim: int | None = None, *_: Any) -> None:
    draft.output()
    _reduce(draft, _input(source), dim, accumulator=16)


def _variance(outputs: int) -> Rule:
    def rule(draft: _Draft, source: Tensor, dim: Any = None, **_: Any) -> None:
        """ReduceMomentKernel.cu: mean, second moment and two counts per thread."""
        draft.outputs(outputs)
        _reduce(draft, _input(source), dim, accumulator=32 if source.element_size() == 8 else 16, values=2)  # noqa: PLR2004

    return rule


def _vector_norm(draft: _Draft, source: Tensor, _order: Any = 2, dim: Any = None, *_: Any, **__: Any) -> None:
    """ReduceNormKernel.cu."""
    draft.output()
    _reduce(draft, _input(source), dim)


def _logsumexp(draft: _Draft, source: Tensor, dim: Sequence[int], *_: Any) -> None:
    """ReduceOps.cpp, logsumexp_out_impl: maxima; where they are infinite; exponentials; the result last."""
    rank, width = source.dim(), source.element_size()
    reduced = {index % rank for index in dim} or set(range(rank))
    outputs = math.prod(extent for index, extent in enumerate(source.shape) if index not in reduced)
    maxima = draft.born(outputs * width)
    _reduce(draft, _input(source), dim, accumulator=width)
    draft.passing(outputs * width, outputs)
    exponentials = draft.born(_bytes(source))
    draft.output()
    _reduce(draft, _preserved(source, width), dim)
    draft.dies(exponentials, maxima)


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pool_backward(draft: _Draft, gradient: Tensor, source: Tensor, *others: Any) -> None:
    """AveragePool2d.cu and DilatedMaxPool2d.cu: gradient and indices are brought to the memory format of the input."""
    draft.output()
    channels_last = _is_channels_last(source)
    read = (gradient, *(other for other in others if isinstance(other, Tensor)))
    draft.passing(*(_copy_if(not _is_laid_out(tensor, channels_last), tensor) for tensor in read))


def _adaptive_pool_backward(draft: _Draft, gradient: Tensor, source: Tensor) -> None:
    """AdaptiveAveragePooling.cu: only the kernel for contiguous inputs needs a contiguous gradient."""
    draft.output()
    draft.passing(_copy_if(not (_is_channels_last(source) or gradient.is_contiguous()), gradient))


def _upsample_backward(draft: _Draft, gradient: Tensor, *_: Any) -> None:
    """UpSampleBilinear2d.cu: the gradient is made dense in its own memory format."""
    draft.output()
    draft.passing(_copy_if(not _is_laid_out(gradient, _is_channels_last(gradient)), gradient))


# --- losses -----------------------------------------------------------------------------------------------------------

_NO_REDUCTION, _MEAN = 0, 1


def _broadcast(*tensors: Tensor) -> tuple[tuple[int, ...], int]:
    """Shape of an elementwise result and its bytes."""
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    kind = tensors[0].dtype
    for tensor in tensors[1:]:
        kind = torch.promote_types(kind, tensor.dtype)
    return tuple(shape), math.prod(shape) * kind.itemsize


def _elementwise_loss(draft: _Draft, source: Tensor, target: Tensor, reduction: int = _MEAN, *_: Any) -> None:
    """Loss.cpp, mse_loss, smooth_l1_loss: the output is made at full size; what is reduced is a second such tensor."""
    shape, size = _broadcast(source, target)
    draft.output(0, size)
    if reduction != _NO_REDUCTION:
        losses = draft.born(size)
        _reduce(draft, _dense(shape, source.element_size()))
        draft.dies(losses)


def _huber_loss(draft: _Draft, source: Tensor, target: Tensor, reduction: int = _MEAN, *_: Any) -> None:
    """Loss.cpp, huber_loss: one loss per element, then its mean."""
    shape, size = _broadcast(source, target)
    if reduction == _NO_REDUCTION:
        draft.output()
        return
    losses = draft.born(size)
    draft.output()
    _reduce(draft, _dense(shape, source.element_size()))
    draft.dies(losses)


def _binary_cross_entropy(
    draft: _Draft, source: Tensor, _target: Tensor, _weight: Tensor | None = None, reduction: int = _MEAN
) -> None:
    """Loss.cu: one loss per element; the mean is copied into that tensor, whose storage keeps its size."""
    draft.output(0, _bytes(source))
    if reduction != _NO_REDUCTION:
        mean = draft.born(source.element_size())
        _reduce(draft, _preserved(source, source.element_size()))
        draft.dies(mean)


def _cross_entropy_with_logits(
    draft: _Draft,
    source: Tensor,
    target: Tensor,
    _weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = _MEAN,
) -> None:
    """Loss.cpp, binary_cross_entropy_with_logits: log sigmoid, the weight of positives, losses, mean."""
    size = _bytes(source)
    sigmoid = draft.born(size)
    if pos_weight is not None:
        scale = draft.born(_bytes(pos_weight))
        scaled = draft.born(_broadcast(pos_weight, target)[1])
        draft.dies(scale, scaled)
    if reduction == _NO_REDUCTION:
        draft.output()
        draft.dies(sigmoid)
        return
    losses = draft.born(size)
    draft.output()
    _reduce(draft, _preserved(source, source.element_size()))
    draft.dies(losses, sigmoid)


def _nll_loss2d(
    draft: _Draft, _source: Tensor, _target: Tensor, _weight: Tensor | None, reduction: int, *_: Any
) -> None:
    """NLLLoss2d.cu: the total weight is made before the loss, which is there at once where it is reduced."""
    if reduction == _NO_REDUCTION:
        draft.output(1)
        draft.output(0)
    else:
        draft.outputs(2)


# --- matrix products (ATen/native/cuda/Blas.cpp, ATen/native/cuda/cuBlasCommonArgs.h) ---------------------------------


def cublas_workspace_bytes(device: Device) -> int:
    """Workspace torch gives to cuBLAS: 8.125 MiB below compute capability 9.0, 32 MiB from there on."""
    return 33_554_432 if device.capability >= (9, 0) else 8_519_680


CUBLASLT_WORKSPACE_BYTES = 2**20


def _is_matrix_copied(matrix: Tensor) -> bool:
    """Whether cuBLAS cannot read a matrix where it is (prepare_matrix_for_cublas)."""
    rows, columns = matrix.shape
    row_stride, column_stride = matrix.stride()
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    return not (in_rows or in_columns or _is_dense(matrix))


def _is_batch_copied(batch: Tensor) -> bool:
    """Whether cuBLAS cannot read a batch of matrices where it is (prepare_batch_matrix_for_cublas)."""
    rows, columns = batch.shape[1:]
    row_stride, column_stride = batch.stride()[1:]
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    return not (in_rows or in_columns or (batch.is_contiguous() and 0 not in batch.stride()[1:]))


def _multiply(draft: _Draft, copies: Sequence[int], workspace: int) -> None:
    """Copies of the operands, the second before the first as cuBLAS works by columns, then the workspace."""
    copied = [draft.born(size) for size in reversed(copies)]
    draft.passing(workspace, workspace=True)
    draft.dies(*reversed(copied))


def _mm(draft: _Draft, left: Tensor, right: Tensor) -> None:
    draft.output()
    if left.numel() and right.numel():
        copies = [_copy_if(_is_matrix_copied(matrix), matrix) for matrix in (left, right)]
        _multiply(draft, copies, cublas_workspace_bytes(draft.device))


def _bmm(draft: _Draft, left: Tensor, right: Tensor) -> None:
    draft.output()
    if left.numel() and right.numel():
        copies = [_copy_if(_is_batch_copied(batch), batch) for batch in (left, right)]
        _multiply(draft, copies, cublas_workspace_bytes(draft.device))


def _baddbmm(draft: _Draft, _bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> None:
    _bmm(draft, left, right)


def _addmm(draft: _Draft, bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, **_: Any) -> None:
    """A bias vector is added by cuBLASLt where it can be (isInputCompliesAddmmCudaLt)."""
    inner, columns = right.shape
    vector = bias.is_contiguous() and bias.shape in ((columns,), (1, columns))
    if not (vector and beta == 1 and inner > 1 and columns > 1 and left.numel()):
        _mm(draft, left, right)
        return
    draft.output()
    copies = [_copy_if(_is_matrix_copied(matrix), matrix) for matrix in (left, right)]
    _multiply(draft, copies, CUBLASLT_WORKSPACE_BYTES)


def _mv(draft: _Draft, matrix: Tensor, vector: Tensor) -> None:
    """Blas.cpp, addmv_out_cuda: rows or columns must be dense, and the vector must not be expanded."""
    draft.output()
    rows, columns = matrix.shape
    row_stride, column_stride = matrix.stride()
    in_rows = column_stride == 1 and row_stride >= max(1, columns)
    in_columns = row_stride == 1 and column_stride >= max(1, rows)
    copies = [_copy_if(not (in_rows or in_columns), matrix), _copy_if(vector.stride(0) == 0, vector)]
    _multiply(draft, copies[::-1], cublas_workspace_bytes(draft.device))


def _addmv(draft: _Draft, _bias: Tensor, matrix: Tensor, vector: Tensor, **_: Any) -> None:
    _mv(draft, matrix, vector)


def _dot(draft: _Draft, *_: Tensor) -> None:
    draft.output()
    draft.passing(cublas_workspace_bytes(draft.device), workspace=True)


# --- convolution (ATen/native/Convolution.cpp, ATen/native/cudnn/ConvShared.cpp) --------------------------------------


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether the strides suggest channels_last; ambiguous ones do not (is_channels_last_strides_2d_s4 and _3d_s5)."""
    if tensor.dim() not in (4, 5):
        return False
    least = 0
    for dim in (1, *range(tensor.dim() - 1, 1, -1), 0):
        extent, stride = tensor.shape[dim], tensor.stride(dim)
        if extent == 0 or stride < least or (dim == 0 and least == tensor.stride(1)):
            return False
        least = stride * max(extent, 1)
    return True


def _is_laid_out(tensor: Tensor, channels_last: bool) -> bool:
    """Whether a tensor is contiguous in a memory format."""
    if not channels_last:
        return tensor.is_contiguous()
    kind = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d  # noqa: PLR2004
    return tensor.is_contiguous(memory_format=kind)


def _suggests_channels_last(*tensors: Tensor) -> bool:
    """cudnn_conv_suggest_memory_format; cuDNN is not given channels_last in float64."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return not wide and any(_is_channels_last(tensor) for tensor in tensors)


def _is_native_depthwise(source: Tensor, weight: Tensor, transposed: bool, groups: int) -> bool:
    """Whether torch's own depthwise kernels run (is_depthwise and not use_cudnn_depthwise)."""
    depthwise = groups > 1 and groups == source.shape[1] and weight.shape[0] % source.shape[1] == 0
    return depthwise and not transposed and source.dim() in (4, 5) and not _suggests_channels_last(source, weight)


def _convolution(draft: _Draft, source: Tensor, weight: Tensor, _bias: Tensor | None, *layer: Any) -> None:
    """Input and weight are brought to one memory format; the bias is added in place."""
    channels_last = _suggests_channels_last(source, weight)
    source_copy = draft.born(_copy_if(not _is_laid_out(source, channels_last), source))
    draft.output()
    weight_copy = draft.born(_copy_if(not _is_laid_out(weight, channels_last), weight))
    draft.passing(_workspace(draft.device, "forward", source, weight, layer), workspace=True)
    draft.dies(weight_copy, source_copy)


def _workspace(device: Device, direction: Direction, source: Tensor, weight: Tensor, layer: Sequence[Any]) -> int:
    """Bytes cuDNN takes for a convolution; layer: stride, padding, dilation, transposed, output padding, groups."""
    if device.convolution_workspace is None or source.dtype not in _CUDNN_TYPES:
        return 0
    stride, padding, dilation, transposed, output_padding, groups = layer
    if _is_native_depthwise(source, weight, transposed, groups):
        return 0
    spatial = source.dim() - 2
    return device.convolution_workspace(
        ConvolutionSignature(
            direction=direction,
            dtype=_CUDNN_TYPES[source.dtype],
            tf32=device.tf32,
            channels_last=_suggests_channels_last(source, weight),
            input_shape=tuple(source.shape),
            weight_shape=tuple(weight.shape),
            stride=_per_dimension(stride, spatial),
            padding=_per_dimension(padding, spatial),
            dilation=_per_dimension(dilation, spatial),
            output_padding=_per_dimension(output_padding, spatial) if transposed else (),
            groups=groups,
            transposed=transposed,
        )
    )


_CUDNN_TYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
}


def _per_dimension(values: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(values) if len(values) == count else tuple(values) * count


def _convolution_backward(
    draft: _Draft, gradient: Tensor, source: Tensor, weight: Tensor, _bias_sizes: Any, *layer_and_mask: Any
) -> None:
    """Gradient of the input, of the weight, of the bias; each brings what it reads to one memory format."""
    *layer, (of_input, of_weight, of_bias) = layer_and_mask
    transposed, groups = layer[3], layer[5]
    channels_last = _suggests_channels_last(source, weight)
    source_copy = draft.born(_copy_if(not _is_laid_out(source, channels_last), source))
    if _is_native_depthwise(source, weight, transposed, groups):
        # DepthwiseConv2d.cu: weight first
        gradient_copy = draft.born(_copy_if(not gradient.is_contiguous(), gradient))
        if of_weight:
            draft.output(int(of_input))
        if of_input:
            draft.output(0)
    else:
        # A transposed convolution makes the gradient contiguous once; others only change its memory format.
        laid_out = _is_laid_out(gradient, channels_last)
        at_once = not laid_out if transposed else channels_last != _is_channels_last(gradient)
        gradient_copy = draft.born(_copy_if(at_once, gradient))
        copy_bytes = _copy_if(not laid_out and not at_once, gradient)
        if of_input:
            draft.output(0)
            copies = [draft.born(_copy_if(not _is_laid_out(weight, channels_last), weight)), draft.born(copy_bytes)]
            draft.passing(_workspace(draft.device, "input_gradient", source, weight, layer), workspace=True)
            draft.dies(*reversed(copies))
        if of_weight:
            copied = draft.born(copy_bytes)
            draft.output(int(of_input))
            draft.passing(_workspace(draft.device, "weight_gradient", source, weight, layer), workspace=True)
            draft.dies(copied)
    draft.dies(gradient_copy, source_copy)
    if of_bias:
        draft.output(int(of_input) + int(of_weight))
        _reduce(draft, _input(gradient), [dim for dim in range(gradient.dim()) if dim != 1])


# --- normalisation ----------------------------------------------------------------------------------------------------


def _group_norm(draft: _Draft, source: Tensor, weight: Tensor | None, bias: Tensor | None, *sizes: float) -> None:
    """group_norm_kernel.cu: statistics in float32 where the input is narrower; scale and shift per channel."""
    images, channels, _, groups, _ = sizes
    copied = draft.born(_copy_if(not _is_laid_out(source, _is_channels_last(source)), source))
    draft.outputs(3)
    wide = max(source.element_size(), 4)
    statistics = int(images * groups) * wide if source.element_size() < wide else 0
    affine = int(images * channels) * wide if weight is not None or bias is not None else 0
    draft.passing(statistics, statistics, affine, affine)
    draft.dies(copied)


def _group_norm_backward(
    draft: _Draft,
    gradient: Tensor,
    source: Tensor,
    _mean: Tensor,
    _deviation: Tensor,
    weight: Tensor | None,
    images: int,
    channels: int,
    pixels: int,
    groups: int,
    output_mask: Sequence[bool],
) -> None:
    """group_norm_kernel.cu: two sums per channel; for the input's gradient two per group and a factor per channel."""
    channels_last = _is_channels_last(source)
    copies = [draft.born(_copy_if(not _is_laid_out(tensor, channels_last), tensor)) for tensor in (gradient, source)]
    draft.outputs(sum(output_mask))
    wide = max(source.element_size(), 4)
    sums = [draft.born(images * channels * wide) for _ in range(2)]
    if output_mask[0]:
        of_groups = [draft.born(images * groups * wide) for _ in range(2)]
        factored = weight is not None and pixels > 1 and not channels_last
        factors = draft.born(images * channels * wide if factored else 0)
        draft.dies(*reversed(of_groups), factors)
    draft.dies(*reversed(sums), *reversed(copies))


def _layer_norm(draft: _Draft, source: Tensor, *_: Any) -> None:
    """layer_norm_kernel.cu: a non-contiguous input is copied."""
    copied = draft.born(_copy_if(not source.is_contiguous(), source))
    draft.outputs(3)
    draft.dies(copied)


_MANY_ROWS = 64 * 1024
_ROWS_PER_BLOCK = 32
_MOST_BLOCKS = _MANY_ROWS // 2


def _layer_norm_backward(
    draft: _Draft,
    gradient: Tensor,
    source: Tensor,
    normalized_shape: Sequence[int],
    *others: Any,
) -> None:
    """layer_norm_kernel.cu: with many short rows, weight and bias gradients are summed in two stages."""
    source_copy = draft.born(_copy_if(not source.is_contiguous(), source))
    columns = math.prod(normalized_shape)
    rows = source.numel() // columns
    width = source.element_size()
    column_blocks = _divide_up(columns, _WARP)
    staged = rows > _MANY_ROWS and columns // _WARP < draft.device.multiprocessors // 2
    of_input, *of_affine = others[-1]
    count = sum(of_affine)
    if of_input:
        draft.output(0)
    if not staged:
        for index in range(count):
            draft.output(int(of_input) + index)
        draft.passing(_copy_if(not gradient.is_contiguous(), gradient))
        draft.dies(source_copy)
        return
    first = [draft.born(columns * width) for _ in range(count)]
    gradient_copy = draft.born(_copy_if(not gradient.is_contiguous(), gradient))
    blocks = min(_MOST_BLOCKS // column_blocks, _divide_up(rows, _ROWS_PER_BLOCK))
    partial = [draft.born(blocks * columns * width) for _ in range(count)]
    for index, replaced in enumerate(first):
        draft.output(int(of_input) + index)
        _reduce(draft, _dense((blocks, columns), width), 0)
        draft.dies(replaced)
    draft.dies(*reversed(partial))
    draft.dies(gradient_copy, source_copy)


_CUDNN_IMAGES = 880_801, 65_535
"""Most images of a batch that cuDNN normalises, in training and with running statistics."""
_CUDNN_LEAST_EPSILON = 1e-5


def _batch_norm(
    draft: _Draft,
    source: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    _running_mean: Tensor | None,
    _running_variance: Tensor | None,
    training: bool,
    _momentum: float,
    epsilon: float,
) -> None:
    """Normalization.cpp and Normalization.cu; the meta device knows this operator where CUDA goes to cuDNN."""
    if bias is not None and _is_cudnn_norm(source, weight, training, epsilon):
        copied = draft.born(_copy_if(not _is_laid_out(source, _is_channels_last(source)), source))
        _cudnn_batch_norm(draft, source, weight, bias, None, None, training)
        draft.dies(copied)
        return
    channels = source.shape[1] * max(source.element_size(), 4)
    draft.output(0)
    draft.output(1, channels)
    draft.output(2, channels)
    if training and _is_in_rows(source):
        draft.passing(*_norm_staging(source, 4))


def _batch_norm_backward(
    draft: _Draft,
    gradient: Tensor,
    source: Tensor,
    weight: Tensor | None,
    *others: Any,
) -> None:
    """Normalization.cu: where channels are the fastest dimension, sums come first and the input's gradient last."""
    training, epsilon, output_mask = others[4:]
    if training and _is_cudnn_norm(source, weight, training, epsilon):
        _cudnn_batch_norm_backward(draft, source, gradient)
    elif _is_in_rows(source):
        of_input, *of_affine = output_mask
        sums = [draft.born(source.shape[1] * max(source.element_size(), 4)) for _ in range(2)]
        for index in range(sum(of_affine)):
            draft.output(int(of_input) + index)
        draft.passing(*_norm_staging(source, 2))
        if of_input:
            draft.output(0)
        draft.dies(*reversed(sums))
    else:
        draft.outputs(sum(output_mask))


def _cudnn_batch_norm(
    draft: _Draft, _source: Tensor, _weight: Any, _bias: Any, _mean: Any, _variance: Any, training: bool, *_: Any
) -> None:
    """cudnn/BatchNorm.cpp; with running statistics nothing is saved."""
    draft.outputs(3 if training else 1)


def _cudnn_batch_norm_backward(draft: _Draft, source: Tensor, gradient: Tensor, *_: Any) -> None:
    """cudnn/BatchNorm.cpp: the gradient is brought to the memory format of the input."""
    copied = draft.born(_copy_if(not _is_laid_out(gradient, _is_channels_last(source)), gradient))
    draft.outputs(3)
    draft.dies(copied)


def _is_cudnn_norm(source: Tensor, weight: Tensor | None, training: bool, epsilon: float) -> bool:
    """Whether batch normalisation goes to cuDNN (_batch_norm_impl_index)."""
    return (
        weight is not None
        and source.dim() >= 3  # noqa: PLR2004 - (batch, channels, length ...)
        and source.dtype != torch.bfloat16
        and (source.dtype != torch.float16 or weight.dtype == torch.float32)
        and source.shape[0] <= _CUDNN_IMAGES[0 if training else 1]
        and epsilon >= _CUDNN_LEAST_EPSILON
    )


def _is_in_rows(source: Tensor) -> bool:
    """Whether channels are the fastest dimension of a dense tensor (batch_norm_choose_impl)."""
    return source.stride(1) == 1 and (source.is_contiguous() or _is_laid_out(source, channels_last=True))


def _norm_staging(source: Tensor, values: int) -> tuple[int, int]:
    """Bytes of staging buffer, `values` float32 per channel and block, and semaphores (flexible_launch_configs)."""
    channels = source.shape[1]
    rows = source.numel() // channels
    height = min(_power_below(_divide_up(rows, 16)), _MAX_THREADS // min(_power_below(channels), _WARP))
    width = min(_power_below(channels), _MAX_THREADS // height)
    blocks = min(_divide_up(rows, height * 16), 128)
    if blocks < 8:  # noqa: PLR2004 - one block is then enough
        return 0, 0
    return values * channels * blocks * 4, 4 * _divide_up(channels, width)


def _softmax(draft: _Draft, source: Tensor, *_: Any) -> None:
    """SoftMax.cu: a non-contiguous input is copied."""
    draft.output()
    draft.passing(_copy_if(not source.is_contiguous(), source))


def _softmax_backward(draft: _Draft, gradient: Tensor, output: Tensor, *_: Any) -> None:
    """SoftMax.cu: the product of gradient and output, then contiguous copies of what is not."""
    draft.output()
    product = _broadcast(gradient, output)[1]
    leading = gradient if _is_dense(gradient) else output
    copied = 0 if leading.is_contiguous() else product
    draft.passing(product, copied, _copy_if(not output.is_contiguous(), output))


def _log_softmax_backward(draft: _Draft, gradient: Tensor, output: Tensor, *_: Any) -> None:
    draft.output()
    draft.passing(*(_copy_if(not tensor.is_contiguous(), tensor) for tensor in (gradient, output)))


# --- sorted indices (cub, ATen/native/cuda/EmbeddingBackwardKernel.cu, Indexing.cu) -----------------------------------

_ALIGNMENT = 256
_DIGITS = 256
"""Bins of one pass of the radix sort, 8 bits of the key."""
_SCAN_WARP = 32
_FEW_INDICES = 3072
_ROWS_PER_THREAD = 10


def _aligned(size: int) -> int:
    return _divide_up(size, _ALIGNMENT) * _ALIGNMENT


def _sort_bytes(count: int, width: int, most: int, device: Device) -> int:
    """Storage of cub::DeviceRadixSort::SortPairs for `count` keys and values of `width` bytes below `most`."""
    if count <= (2304 if width == 8 else 4864):  # noqa: PLR2004
        return 1
    passes = _divide_up(max(most.bit_length(), 1), 8)
    tile = _by_capability(device, *((2816, 3840, 4608) if width == 8 else (11776, 6528, 6528)))  # noqa: PLR2004
    size = _ALIGNMENT - 1 + _aligned(passes * _DIGITS * 8) + _aligned(passes * 4)
    size += _divide_up(count, tile) * _DIGITS * 4
    return size + (2 * _aligned(count * width) if passes > 1 else 0)


def _unique_bytes(count: int, width: int, device: Device) -> int:
    """Storage of cub::DeviceSelect::UniqueByKey."""
    ampere = device.capability == (8, 0)
    if width == 8:  # noqa: PLR2004
        tile = 1344 if ampere else _by_capability(device, 320, 320, 4928)
    else:
        tile = 2816 if ampere else _by_capability(device, 704, 704, 7168)
    return _scan_state_bytes(count, tile, 16)


def _scan_bytes(count: int, width: int) -> int:
    """Storage of cub::DeviceScan over integers of `width` bytes."""
    return _scan_state_bytes(count, 896 if width == 8 else 1920, 2 * width)  # noqa: PLR2004


def _scan_state_bytes(count: int, tile: int, state: int) -> int:
    """A state of `state` bytes per tile, and a warp more."""
    return 2 * _ALIGNMENT - 1 + _aligned((_SCAN_WARP + _divide_up(count, tile)) * state)


def _by_capability(device: Device, turing: int, ampere: int, hopper: int) -> int:
    """The value for the oldest of these architectures that the device is not older than."""
    if device.capability >= (9, 0):
        return hopper
    return ampere if device.capability >= (8, 0) else turing


def _embedding_backward(
    draft: _Draft,
    gradient: Tensor,
    indices: Tensor,
    num_weights: int,
    _padding: int = -1,
    scale_grad_by_freq: bool = False,
) -> None:
    """Embedding.cu and EmbeddingBackwardKernel.cu: few indices are added one by one; many are sorted into segments."""
    count, width = indices.numel(), indices.element_size()
    if count <= _FEW_INDICES and not scale_grad_by_freq:
        copies = [draft.born(_copy_if(not tensor.is_contiguous(), tensor)) for tensor in (indices, gradient)]
        draft.output()
        draft.dies(*reversed(copies))
        return
    gradient_copy = draft.born(_copy_if(not gradient.is_contiguous(), gradient))
    size = count * width
    kept = [draft.born(size) for _ in range(2)]
    numbers = draft.born(size)
    draft.passing(_sort_bytes(count, width, num_weights, draft.device))
    draft.dies(numbers)
    if scale_grad_by_freq:
        kept.append(draft.born(size))
        for _ in range(2):
            draft.passing(_scan_bytes(1, 8))
    draft.output()
    segments = [draft.born(size), draft.born(8)]
    numbers = draft.born(size)
    draft.passing(_unique_bytes(count, width, draft.device))
    draft.dies(numbers)
    most = min(count, num_weights)
    parts = [draft.born(most * width) for _ in range(2)]
    draft.passing(_scan_bytes(most, width))
    total = draft.born(8)
    partial = count // _ROWS_PER_THREAD + most
    columns = gradient.shape[-1]
    wide = max(gradient.element_size(), 4)
    # A block of threads takes one segment, or 1024 columns of it.
    blocks = _divide_up(most * _padded(columns, _WARP), min(_padded(columns, _WARP), 1024))
    if blocks < 4 * draft.device.multiprocessors and partial > 4 * blocks:
        # Few long segments are added up atomically.
        accumulated = num_weights * columns * wide if gradient.element_size() < wide else 0
        draft.passing(partial * width, partial * width, accumulated)
    else:
        draft.passing(partial * width, partial * columns * wide)
    draft.dies(total, *reversed(parts), *reversed(segments), *reversed(kept), gradient_copy)


def _index_put(
    draft: _Draft, source: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False, *_: Any
) -> None:
    """Indexing.cu, index_put_with_sort_kernel: positions are computed and sorted, so that sums are deterministic."""
    given = [index for index in indices if index is not None]
    if not accumulate or any(index.dtype in (torch.bool, torch.uint8) for index in given):
        return
    count = math.prod(torch.broadcast_shapes(*(index.shape for index in given)))
    size = count * 8
    linear = draft.born(size)
    draft.passing(size)
    for _index in given[1:]:
        position, wrapped = draft.born(size), draft.born(size)
        draft.dies(position, wrapped)
    indexed = [dim for dim, index in enumerate(indices) if index is not None]
    together = indexed[-1] - indexed[0] + 1 == len(indexed)
    # Indexed dimensions that are apart are moved to the front.
    moved = draft.born(_copy_if(not together, source))
    wanted = count * math.prod(extent for dim, extent in enumerate(source.shape) if dim not in indexed)
    expanded = values.numel() != wanted
    value_copy = draft.born(
        wanted * values.element_size() if expanded else _copy_if(not values.is_contiguous(), values)
    )
    kept = [draft.born(size) for _ in range(3)]
    extents = source.shape[: indexed[-1] + 1] if together else (source.shape[dim] for dim in indexed)
    draft.passing(_sort_bytes(count, 8, math.prod(extents), draft.device))
    draft.dies(*reversed(kept), value_copy, moved, linear)


# --- dropout and attention --------------------------------------------------------------------------------------------


def _dropout(draft: _Draft, *_: Any) -> None:
    """Dropout.cu: a mask of one byte per element, then the output."""
    draft.output(1)
    draft.output(0)


_ATTENTION_TILE = 64
_FLASH_ROWS = 128


def _padded(number: int, multiple: int) -> int:
    return _divide_up(number, multiple) * multiple


def _efficient_attention(
    draft: _Draft,
    _query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    compute_log_sumexp: bool,
    dropout_p: float = 0.0,
    *_: Any,
    **__: Any,
) -> None:
    """attention.cu, _efficient_attention_forward: with dropout, seed and offset stay on the host."""
    if dropout_p == 0:
        draft.output(2)
        draft.output(3)
    draft.output(0)
    if compute_log_sumexp:
        draft.output(1)


def _efficient_attention_backward(
    draft: _Draft,
    gradient: Tensor,
    query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    out: Tensor,
    *_: Any,
    **__: Any,
) -> None:
    """attention_backward.cu: products of gradient and output, their sums, and a workspace to accumulate in."""
    batch, heads, rows, columns = query.shape
    copied = draft.born(_copy_if(not gradient.transpose(1, 2).is_contiguous(), gradient))
    for index in range(3):
        draft.output(index)
    sums = batch * heads * rows * 4
    if query.dtype == torch.float32:
        products = draft.born(out.numel() * 4)
        delta = draft.born(sums)
        delta_copy = draft.born(sums)
        draft.dies(delta, products)
        delta = delta_copy
    else:
        delta = draft.born(sums)
    # Each tile of the query's gradient has a lock beside it.
    large, ampere = columns > _ATTENTION_TILE, draft.device.capability >= (8, 0)
    narrow = query.element_size() == 2  # noqa: PLR2004
    tile_rows = 2 * _ATTENTION_TILE if large and (ampere or narrow) else _ATTENTION_TILE
    tile_columns = 2 * _ATTENTION_TILE if large and ampere and narrow else _ATTENTION_TILE
    tiles = _divide_up(rows, tile_rows) * _divide_up(columns, tile_columns)
    workspace = draft.born(batch * heads * tiles * (tile_rows * tile_columns * 4 + 16))
    draft.dies(delta, workspace, copied)


def _cudnn_attention(
    draft: _Draft,
    _query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _bias: Tensor | None,
    compute_log_sumexp: bool,
    *_: Any,
    **__: Any,
) -> None:
    """attention.cu, _scaled_dot_product_cudnn_attention_cuda, without the workspace of cuDNN's plan."""
    draft.output(2)
    draft.output(3)
    draft.output(0)
    if compute_log_sumexp:
        draft.output(1)


def _cudnn_attention_backward(draft: _Draft, _gradient: Tensor, query: Tensor, *_: Any, **__: Any) -> None:
    """MHA.cpp, run_cudnn_SDP_bprop: cuDNN's front end accumulates the query's gradient and sums in float32."""
    batch, heads, rows, columns = query.shape
    draft.outputs(3)
    draft.passing(batch * heads * rows * (columns + 1) * 4, workspace=True)


def _flash_attention(
    draft: _Draft, query: Tensor, key: Tensor, _value: Tensor, dropout_p: float = 0.0, *_: Any, **__: Any
) -> None:
    """flash_api.cpp, mha_fwd: few queries are shared out by splitting the keys."""
    batch, heads, rows, columns = query.shape
    draft.outputs(2)
    splits = 1 if dropout_p else _flash_splits(batch * heads, rows, key.shape[2], columns, draft.device)
    lines = splits * batch * heads * rows if splits > 1 else 0
    parts = [draft.born(lines * 4), draft.born(lines * _head(columns) * 4)]
    draft.output(2)
    draft.output(3)
    draft.passing(16 if dropout_p else 0)
    draft.dies(*parts)


def _head(columns: int) -> int:
    """Head dimension as flash attention rounds it."""
    return _padded(columns, 32) if columns <= 192 else 256  # noqa: PLR2004


def _flash_splits(heads: int, rows: int, keys: int, columns: int, device: Device) -> int:
    """num_splits_heuristic: the fewest splits that keep 85 % of the best use of the multiprocessors."""
    slots = 2 * device.multiprocessors
    work = heads * _divide_up(rows, 64)
    key_blocks = _divide_up(keys, 256 if columns <= 64 else 128 if columns <= 128 else 64)  # noqa: PLR2004
    if work >= 0.8 * slots:
        return 1
    efficiency: dict[int, float] = {}
    for splits in range(1, min(128, slots, key_blocks) + 1):
        if splits == 1 or _divide_up(key_blocks, splits) != _divide_up(key_blocks, splits - 1):
            waves = work * splits / slots
            efficiency[splits] = waves / math.ceil(waves)
    best = max(efficiency.values(), default=0.0)
    return next((splits for splits, value in efficiency.items() if value >= 0.85 * best), 1)


def _flash_attention_backward(
    draft: _Draft, gradient: Tensor, query: Tensor, key: Tensor, _value: Tensor, out: Tensor, *_: Any, **__: Any
) -> None:
    """flash_api.cpp, mha_bwd: sums of the softmax, the query's gradient in float32, grouped keys expanded."""
    batch, heads, rows, columns = query.shape
    copies = [draft.born(_copy_if(not t.transpose(1, 2).is_contiguous(), t)) for t in (gradient, out)]
    for index in range(3):
        draft.output(index)
    lines = batch * heads * _padded(rows, _FLASH_ROWS)
    expanded = batch * heads * key.shape[2] * columns * key.element_size() if key.shape[1] != heads else 0
    draft.passing(lines * 4, lines * _head(columns) * 4, expanded, expanded)
    draft.dies(*reversed(copies))


# --- lists of tensors (ATen/native/cuda/ForeachReduceOp.cu) -----------------------------------------------------------

_CHUNK = 65536
"""Elements one block takes of a tensor."""


def _foreach_norm(draft: _Draft, tensors: Sequence[Tensor], *_: Any) -> None:
    """Start of every tensor's chunks, one value per chunk, then the norms; one by one where types differ."""
    if len({tensor.dtype for tensor in tensors}) > 1:
        for index, tensor in enumerate(tensors):
            draft.output(index)
            _reduce(draft, _input(tensor))
        return
    chunks = sum(_divide_up(tensor.numel(), _CHUNK) for tensor in tensors)
    starts = draft.born(8 * (len(tensors) + 1))
    values = draft.born(chunks * max(tensors[0].element_size(), 4))
    draft.outputs(len(tensors))
    draft.dies(values, starts)


def _roll(draft: _Draft, source: Tensor, _shifts: Sequence[int], dims: Sequence[int] = ()) -> None:
    """TensorTransformations.cu: one dimension after the other; a non-contiguous input is copied."""
    copied = draft.born(_copy_if(not source.is_contiguous(), source))
    rolled: list[int | None] = []
    for _dim in dims[1:]:
        rolled.append(draft.born(_bytes(source)))
        draft.dies(copied)
        copied = None
    draft.output()
    draft.dies(*reversed(rolled), copied)


def _log_sigmoid(draft: _Draft, *_: Any) -> None:
    """ActivationLogSigmoidKernel.cu: there is no buffer on CUDA."""
    draft.output(0)


RULES: dict[Any, Rule] = {
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _sum,
    aten.mean.dim: _sum,
    aten.prod.default: _sum,
    aten.max.default: _reduce_same,
    aten.min.default: _reduce_same,
    aten.amax.default: _reduce_same,
    aten.amin.default: _reduce_same,
    aten.any.default: _any,
    aten.any.dim: _any,
    aten.all.default: _any,
    aten.all.dim: _any,
    aten.max.dim: _max_dim,
    aten.min.dim: _max_dim,
    aten.argmax.default: _argmax,
    aten.argmin.default: _argmax,
    aten.var.correction: _variance(1),
    aten.std.correction: _variance(1),
    aten.var_mean.correction: _variance(2),
    aten.std_mean.correction: _variance(2),
    aten.linalg_vector_norm.default: _vector_norm,
    aten.norm.Scalar: _vector_norm,
    aten.norm.ScalarOpt_dim: _vector_norm,
    aten.logsumexp.default: _logsumexp,
    aten.avg_pool2d_backward.default: _pool_backward,
    aten.max_pool2d_with_indices_backward.default: _pool_backward,
    aten._adaptive_avg_pool2d_backward.default: _adaptive_pool_backward,  # noqa: SLF001
    aten.upsample_bilinear2d_backward.default: _upsample_backward,
    aten.upsample_nearest2d_backward.default: _upsample_backward,
    aten.mse_loss.default: _elementwise_loss,
    aten.smooth_l1_loss.default: _elementwise_loss,
    aten.huber_loss.default: _huber_loss,
    aten.binary_cross_entropy.default: _binary_cross_entropy,
    aten.binary_cross_entropy_with_logits.default: _cross_entropy_with_logits,
    aten.nll_loss2d_forward.default: _nll_loss2d,
    aten.log_sigmoid_forward.default: _log_sigmoid,
    aten.roll.default: _roll,
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.baddbmm.default: _baddbmm,
    aten.addmm.default: _addmm,
    aten._addmm_activation.default: _addmm,  # noqa: SLF001
    aten.mv.default: _mv,
    aten.addmv.default: _addmv,
    aten.dot.default: _dot,
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.cudnn_batch_norm.default: _cudnn_batch_norm,
    aten.cudnn_batch_norm_backward.default: _cudnn_batch_norm_backward,
    aten._softmax.default: _softmax,  # noqa: SLF001
    aten._log_softmax.default: _softmax,  # noqa: SLF001
    aten._softmax_backward_data.default: _softmax_backward,  # noqa: SLF001
    aten._log_softmax_backward_data.default: _log_softmax_backward,  # noqa: SLF001
    aten.embedding_dense_backward.default: _embedding_backward,
    aten._index_put_impl_.default: _index_put,
    aten.native_dropout.default: _dropout,
    aten._scaled_dot_product_efficient_attention.default: _efficient_attention,  # noqa: SLF001
    aten._scaled_dot_product_efficient_attention_backward.default: _efficient_attention_backward,  # noqa: SLF001
    aten._scaled_dot_product_flash_attention.default: _flash_attention,  # noqa: SLF001
    aten._scaled_dot_product_flash_attention_backward.default: _flash_attention_backward,  # noqa: SLF001
    aten._scaled_dot_product_cudnn_attention.default: _cudnn_attention,  # noqa: SLF001
    aten._scaled_dot_product_cudnn_attention_backward.default: _cudnn_attention_backward,  # noqa: SLF001
    aten._foreach_norm.Scalar: _foreach_norm,  # noqa: SLF001
}


# --- strides ----------------------------------------------------------------------------------------------------------


def lay_out(func: Any, args: tuple[Any, ...], result: Any) -> Any:
    """The result of a call with the strides it has on CUDA, where the meta device chooses others.

    Strides decide what later operators copy.

    Args:
        func: operator overload.
        args: positional arguments of the call.
        result: what the meta device returned; nothing may refer to it yet.
    """
    layout = LAYOUTS.get(func)
    if layout is None:
        return result
    if isinstance(result, Tensor):
        return layout(result, *args)
    first, *others = result
    return (first if first is None else layout(first, *args), *others)


def _in_memory_format(tensor: Tensor, channels_last: bool) -> Tensor:
    if not channels_last:
        return tensor.contiguous()
    kind = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d  # noqa: PLR2004
    return tensor.contiguous(memory_format=kind)


def _contiguous(result: Tensor, *_: Any) -> Tensor:
    return result.contiguous()


def _like_first(result: Tensor, first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first) if _is_dense(first) else result


def _like_convolution(result: Tensor, source: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return _in_memory_format(result, _suggests_channels_last(source, weight))


def _like_second(result: Tensor, _first: Tensor, second: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(second) if _is_dense(second) else result


def _like_input(result: Tensor, _gradient: Tensor, source: Tensor, *_: Any) -> Tensor:
    return _in_memory_format(result, _is_channels_last(source))


LAYOUTS: dict[Any, Callable[..., Tensor]] = {
    aten.convolution.default: _like_convolution,
    aten.native_batch_norm_backward.default: _like_input,
    aten.binary_cross_entropy_backward.default: _like_second,
    aten.cudnn_batch_norm_backward.default: _like_first,
    aten.native_layer_norm_backward.default: _contiguous,
    aten._log_softmax_backward_data.default: _contiguous,  # noqa: SLF001
    aten.mse_loss_backward.default: _contiguous,
    aten.smooth_l1_loss_backward.default: _contiguous,
    aten.huber_loss_backward.default: _contiguous,
    aten.glu_backward.default: _contiguous,
    aten.pixel_unshuffle.default: _contiguous,
    aten.hardtanh_backward.default: _like_first,
    aten.hardsigmoid_backward.default: _like_first,
    aten.hardswish_backward.default: _like_first,
    aten.elu_backward.default: _like_first,
    aten.softplus_backward.default: _like_first,
}
"""Layout of the first output, by operator, as found by comparing both devices on arguments that are not contiguous."""
