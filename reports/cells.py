"""What a row says in a cell. `-` is no value; the first cell of a group says why there is none."""

from collections.abc import Callable, Sequence

from reports.layout import Column, Group, column
from reports.published import IMAGE_SIZES
from reports.row import Row, Workload
from reports.units import (
    NOTHING,
    format_milliseconds,
    format_overhead,
    format_percent,
    format_ratio,
    memory_unit,
)

OWN_SIZES = {**IMAGE_SIZES, "cityscapes": (512, 1024)}
"""Height and width of images that go without saying."""


def in_words(status: str) -> str:
    """Why a row has no reading: `out of memory`, `not run`; a finished row just has none."""
    return NOTHING if status == "ok" else status.replace("_", " ")


def name_workload(workload: Workload) -> str:
    """`resnet110 on cifar10`, with what differs from the papers' options and the dataset's own size of images."""
    size = workload.height_and_width
    words = {
        "x".join(map(str, size)): size != OWN_SIZES.get(workload.dataset, size),
        workload.precision: workload.precision != "float32",
        "no TF32": not workload.tf32,
        workload.memory_format: workload.memory_format != "contiguous",
        "cudnn.benchmark": workload.cudnn_benchmark,
        workload.optimizer: workload.optimizer != "sgd",
        workload.allocator: workload.allocator != "",
        f"compile={workload.compile}": workload.compile != "none",
    }
    unusual = [word for word, differs in words.items() if differs]
    return f"{workload.network} on {workload.dataset}" + (f" ({', '.join(unusual)})" if unusual else "")


def label_columns(rows: Sequence[Row]) -> Group:
    """Method, K and, where the rows do not agree about it, the split."""
    labels = (
        column("Method", rows, lambda row: row.method, align="left"),
        column("K", rows, lambda row: str(row.module_count)),
    )
    return (*labels, column("Split", rows, shorten_split, align="left")) if splits_differ(rows) else labels


def name_case(row: Row, rows: Sequence[Row]) -> str:
    """The method and, where the rows do not agree about it, the split."""
    return f"{row.method} {shorten_split(row)}".rstrip() if splits_differ(rows) else row.method


def name_point(row: Row) -> str:
    """A case by itself, as in a chart: `dgl, K=4, balanced`."""
    policy = shorten_split(row)
    words = [row.method, f"K={row.module_count}" if row.module_count > 1 else "", "" if policy == "equal" else policy]
    return ", ".join(filter(None, words))


def splits_differ(rows: Sequence[Row]) -> bool:
    """Whether cases of these rows are cut in several ways."""
    return len({row.split_policy for row in rows if row.module_count > 1}) > 1


def shorten_split(row: Row) -> str:
    """Policy, or the first of its explicit sizes: `3,3,3,..`; nothing for a network in one module."""
    sizes = row.split_policy.split(",")
    policy = row.split_policy if len(sizes) <= 3 else ",".join(sizes[:3]) + ",.."  # noqa: PLR2004 - a narrow column
    return policy if row.module_count > 1 else ""


def peak_unit(rows: Sequence[Row]) -> tuple[str, Callable[[float | None], str]]:
    """Unit that suits the largest peak of these rows."""
    peaks = [peak for row in rows for peak in (row.peak_allocated_bytes, row.measured_peak_allocated_bytes) if peak]
    return memory_unit(max(peaks, default=0))


def peak_column(rows: Sequence[Row]) -> Column:
    """The simulated peak in the unit that suits these rows, or why there is none."""
    unit, format_bytes = peak_unit(rows)
    return column(
        f"peak\n{unit}",
        rows,
        lambda row: simulated_or_why(row, format_bytes(row.peak_allocated_bytes)),
        source="simulated",
    )


def peak_beside_e2e(rows: Sequence[Row]) -> Group:
    """The simulated peak, its share of that of E2E, and the published share."""
    return (
        peak_column(rows),
        column("of\nE2E", rows, lambda row: format_percent(row.peak_ratio), source="simulated"),
        column("paper\nof E2E", rows, lambda row: format_percent(row.published_peak_ratio), source="published"),
    )


def saved(peak_ratio: float | None) -> str:
    """What a peak saves of that of E2E: `62.6%`."""
    return format_percent(None if peak_ratio is None else 1 - peak_ratio)


def simulated_or_why(row: Row, text: str) -> str:
    """The text of a simulated reading, or in place of `-` why the row has none."""
    return in_words(row.simulated_status) if text == NOTHING else text


def measured_or_why(row: Row, text: str) -> str:
    """The text of a measured reading, or in place of `-` why the row has none."""
    return in_words(row.measured_status) if text == NOTHING else text


def step_milliseconds(row: Row) -> str:
    """Median step, or why there is none."""
    return measured_or_why(row, format_milliseconds(row.step_seconds))


def step_ratio(row: Row) -> str:
    """Step over that of E2E: `1.134±0.004`."""
    return format_ratio(row.step_ratio, row.step_ratio_low, row.step_ratio_high)


def step_overhead(row: Row) -> str:
    """What a step takes more than that of E2E: `+13.4±0.4%`, or why there is no such number."""
    return measured_or_why(row, format_overhead(row.step_ratio, row.step_ratio_low, row.step_ratio_high))


def inference_milliseconds(row: Row) -> str:
    """Median forward pass of the deployed network, or why there is none."""
    return measured_or_why(row, format_milliseconds(row.inference_seconds))


def inference_ratio(row: Row) -> str:
    """That pass over the one of E2E."""
    return format_ratio(row.inference_ratio, row.inference_ratio_low, row.inference_ratio_high)
