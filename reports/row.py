"""One case in one row: what was simulated, measured and published, each beside the same reading of E2E."""

from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from reports.published import IMAGE_SIZES, Place, published, published_ratio, published_step_ratio
from results.record import Case, Measurement, Readings
from results.statistics import median, paired_ratio

NOT_RUN = "not_run"
"""Status of a row the run does not hold."""
NO_READINGS = Readings()

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What methods are compared on."""

    network: str
    dataset: str
    image_size: int
    """Height of the images in pixels, and their width unless `image_width` says otherwise."""
    image_width: int | None
    precision: str
    tf32: bool
    memory_format: str
    cudnn_benchmark: bool
    optimizer: str
    allocator: str
    compile: str

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Size of the images in pixels."""
        return self.image_size, self.image_width or self.image_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case with every number reports show; the columns of their CSV. None: not measured, or not published."""

    network: str
    dataset: str
    image_size: int
    image_width: int | None
    precision: str
    tf32: bool
    memory_format: str
    cudnn_benchmark: bool
    optimizer: str
    allocator: str
    compile: str
    method: str
    module_count: int
    split_policy: str
    simulated_status: str
    """Of the record, or `not_run`."""
    simulated_batch_size: int | None
    simulated_device: str | None
    peak_allocated_bytes: int | None
    """Simulated."""
    peak_ratio: float | None
    """Simulated peak over that of E2E."""
    published_memory_gb: float | None
    published_peak_ratio: float | None
    published_memory_source: str | None
    """Paper and table, here and below."""
    theoretical_overhead: float | None
    published_theoretical_overhead: float | None
    published_theoretical_source: str | None
    parameter_count: int | None
    deployed_parameter_count: int | None
    inference_flops_ratio: float | None
    """Forward FLOPs of the deployed network over those of E2E."""
    measured_status: str
    measured_batch_size: int | None
    measured_device: str | None
    measured_peak_allocated_bytes: int | None
    measured_peak_ratio: float | None
    simulation_error: float | None
    """Simulated over measured peak, less one; None unless both are of one batch size."""
    step_seconds: float | None
    """Median of the method's steps."""
    step_ratio: float | None
    """Median of paired ratios to E2E."""
    step_ratio_low: float | None
    step_ratio_high: float | None
    step_count: int | None
    """Number of pairs."""
    published_step_ratio: float | None
    published_step_source: str | None
    inference_seconds: float | None
    inference_ratio: float | None
    inference_ratio_low: float | None
    inference_ratio_high: float | None
    inference_count: int | None
    published_inference_ratio: float | None
    published_inference_source: str | None
    published_test_error: float | None
    """In per cent; top-1 on ImageNet."""
    published_test_error_source: str | None
    published_top5_error: float | None
    """In per cent, on ImageNet."""
    published_top5_error_source: str | None
    published_miou_one_scale: float | None
    """In per cent, on Cityscapes, as are the next two."""
    published_miou_several_scales: float | None
    published_miou_flipped: float | None
    """Of several scales, with flipped images as well."""
    published_miou_source: str | None

    @property
    def place(self) -> Place:
        """Where papers print this case."""
        workload = Workload(**{field.name: getattr(self, field.name) for field in fields(Workload)})
        batch_size = self.simulated_batch_size or self.measured_batch_size or 0
        return find_place(workload, self.method, self.module_count, self.split_policy, batch_size)


def join_case(
    workload: Workload,
    simulated: Measurement | None,
    measured: Measurement | None,
    simulated_e2e: Measurement | None,
    measured_e2e: Measurement | None,
) -> Row:
    """Make the row of a case.

    Args:
        workload: what all four measurements have in common.
        simulated: the case simulated; None where it was not.
        measured: the case measured; None where it was not, but then it was simulated.
        simulated_e2e: E2E under the setting of `simulated`.
        measured_e2e: E2E under the setting of `measured`.
    """
    case = next(row.case for row in (simulated, measured) if row)
    left, right, left_e2e, right_e2e = map(_readings, (simulated, measured, simulated_e2e, measured_e2e))
    # Parameters and FLOPs are known before a step runs, so they hold for a case that ran out of memory as well.
    counts, counts_e2e = (
        [row.readings if row else NO_READINGS for row in pair]
        for pair in ((simulated, measured), (simulated_e2e, measured_e2e))
    )
    same_batch = simulated and measured and simulated.case.batch_size == measured.case.batch_size
    accuracy = _over(left.peak_allocated_bytes, right.peak_allocated_bytes) if same_batch else None
    return Row(
        **asdict(workload),
        method=case.method,
        module_count=case.module_count,
        split_policy=case.split_policy,
        simulated_status=simulated.status if simulated else NOT_RUN,
        simulated_batch_size=simulated.case.batch_size if simulated else None,
        simulated_device=simulated.environment.device_name if simulated else None,
        peak_allocated_bytes=left.peak_allocated_bytes,
        peak_ratio=_over(left.peak_allocated_bytes, left_e2e.peak_allocated_bytes),
        theoretical_overhead=_first(*(each.theoretical_overhead for each in counts)),
        parameter_count=_first(*(each.parameter_count for each in counts)),
        deployed_parameter_count=_first(*(each.deployed_parameter_count for each in counts)),
        inference_flops_ratio=_first(
            *(_over(each.inference_flops, e2e.inference_flops) for each, e2e in zip(counts, counts_e2e, strict=True))
        ),
        measured_status=measured.status if measured else NOT_RUN,
        measured_batch_size=measured.case.batch_size if measured else None,
        measured_device=measured.environment.device_name if measured else None,
        measured_peak_allocated_bytes=right.peak_allocated_bytes,
        measured_peak_ratio=_over(right.peak_allocated_bytes, right_e2e.peak_allocated_bytes),
        simulation_error=None if accuracy is None else accuracy - 1,
        **_time("step", right, "block_step_count", case.method),
        **_time("inference", right, "inference_block_pass_count", case.method),
        **_publish(workload, case),
    )


def _readings(row: Measurement | None) -> Readings:
    """Readings of a finished row; peaks and times of one that failed are nobody's result."""
    return row.readings if row and row.status == "ok" else NO_READINGS


def _first(*values: _Value | None) -> _Value | None:
    return next((value for value in values if value is not None), None)


def _over(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def _time(kind: str, readings: Readings, block_field: str, method: str) -> dict[str, Any]:
    """The five fields of a kind of timing. E2E is the reference of all pairs, so without pairs its own ratio is 1."""
    seconds: tuple[float, ...] | None = getattr(readings, f"{kind}_seconds")
    reference: tuple[float, ...] | None = getattr(readings, f"reference_{kind}_seconds")
    block = 2 * (getattr(readings, block_field) or 0) or 1
    ratio = paired_ratio(seconds, reference, block) if seconds and reference else None
    by_definition = 1.0 if seconds and method == "e2e" else None
    return {
        f"{kind}_seconds": median(seconds) if seconds else None,
        f"{kind}_ratio": ratio.median if ratio else by_definition,
        f"{kind}_ratio_low": ratio and ratio.low,
        f"{kind}_ratio_high": ratio and ratio.high,
        f"{kind}_count": ratio and ratio.count,
    }


def _publish(workload: Workload, case: Case) -> dict[str, Any]:
    """The published fields of a case."""
    place = find_place(workload, case.method, case.module_count, case.split_policy, case.batch_size)
    figures = {
        "memory": published("training_memory", place),
        "peak_ratio": published_ratio("training_memory", place),
        "theoretical": published("overhead_theoretical", place),
        "step": published_step_ratio(place),
        "inference": published_ratio("inference_time", place),
        "test_error": published("test_error", place),
        "top5_error": published("top5_error", place),
        "one_scale": published("mIoU_SS", place),
        "several_scales": published("mIoU_MS", place),
        "flipped": published("mIoU_MS_flip", place),
    }
    value = {name: figure and figure.value for name, figure in figures.items()}
    source = {name: figure and figure.source for name, figure in figures.items()}
    return {
        "published_memory_gb": value["memory"],
        "published_peak_ratio": value["peak_ratio"],
        "published_memory_source": source["memory"],
        "published_theoretical_overhead": None if value["theoretical"] is None else value["theoretical"] / 100,
        "published_theoretical_source": source["theoretical"],
        "published_step_ratio": value["step"],
        "published_step_source": source["step"],
        "published_inference_ratio": value["inference"],
        "published_inference_source": source["inference"],
        "published_test_error": value["test_error"],
        "published_test_error_source": source["test_error"],
        "published_top5_error": value["top5_error"],
        "published_top5_error_source": source["top5_error"],
        "published_miou_one_scale": value["one_scale"],
        "published_miou_several_scales": value["several_scales"],
        "published_miou_flipped": value["flipped"],
        "published_miou_source": source["one_scale"],
    }


def find_place(workload: Workload, method: str, module_count: int, split_policy: str, batch_size: int) -> Place:
    """Where papers print a case: all trained in float32, and all but those on Cityscapes on images of one size."""
    height, width = workload.height_and_width
    # Of the batch of two GPUs each had half.
    conditions = f"batch {2 * batch_size}; crop {height}x{width}" if workload.dataset == "cityscapes" else ""
    own_size = bool(conditions) or (height, width) == IMAGE_SIZES.get(workload.dataset)
    return Place(
        dataset=workload.dataset if own_size and workload.precision == "float32" else "",
        network=workload.network,
        method=method,
        module_count=module_count,
        split_policy=split_policy,
        conditions=conditions,
    )
