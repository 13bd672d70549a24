"""Staging buffers of a reduction kernel, from the number of multiprocessors (ATen/native/cuda/Reduce.cuh)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.simulator.operators.plans import Device, Draft, divide_up, power_below
from bench.simulator.operators.strides import contiguous_strides, is_dense

WARP = 32
MAX_THREADS = 512
_MIN_VALUES, _MAX_VALUES = 16, 256
"""Values one thread reduces, before and after the input is divided among blocks."""
_MAX_INDEX = 2**31 - 1
_VECTOR = 4
"""Elements loaded at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a reduction reads."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    width: int
    """Bytes of an element."""


def source_of(tensor: Tensor) -> Source:
    """A tensor, as a reduction reads it."""
    return Source(tuple(tensor.shape), tensor.stride(), tensor.element_size())


def dense_source(shape: Sequence[int], width: int) -> Source:
    """A contiguous tensor of this shape, elements of `width` bytes."""
    return Source(tuple(shape), tuple(contiguous_strides(shape)), width)


def converted_source(tensor: Tensor, width: int) -> Source:
    """Layout of a copy of another type: strides are kept where the tensor is dense."""
    if is_dense(tensor):
        return Source(tuple(tensor.shape), tensor.stride(), width)
    return dense_source(tensor.shape, width)


def reduce(
    draft: Draft,
    source: Source,
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
        if fastest_reduced and x_extent > MAX_THREADS // 4 and len(axes) == 1:
            x_extent //= values
        elif not fastest_reduced:
            output_vector = _output_vector(axes, reduced, width)
            x_extent //= output_vector

    threads = MAX_THREADS // output_vector
    x_threads, y_threads = (min(power_below(extent), threads) for extent in (x_extent, y_extent))
    block_width = min(x_threads, WARP)
    block_height = min(y_threads, threads // block_width)
    block_width = min(x_threads, threads // block_height)

    inputs_at_once, outputs_at_once = (block_width, 1) if fastest_reduced else (1, block_width)
    per_thread = divide_up(inputs, inputs_at_once)
    if per_thread < min(block_height * _MIN_VALUES, _MAX_VALUES):
        return 0, 0
    per_thread = divide_up(inputs, inputs_at_once * block_height)
    blocks = divide_up(outputs // output_vector, outputs_at_once)
    wanted_blocks = device.multiprocessors * (device.threads_per_multiprocessor // (block_width * block_height))
    if per_thread < _MAX_VALUES or blocks > wanted_blocks:
        return 0, 0
    shares = max(
        min(divide_up(wanted_blocks, blocks), divide_up(per_thread, _MIN_VALUES)), divide_up(per_thread, _MAX_VALUES)
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
