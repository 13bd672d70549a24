"""InfoPro's tables of large images in its own layout: ImageNet (Table 4) and Cityscapes (Table 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports import cells, notes
from reports.comparison import Comparison, ReportError, compare
from reports.layout import Column, Group, Table, column
from reports.published import Metric, published
from reports.row import Row
from reports.units import NOTHING, format_change, format_gib, format_gigabytes, format_overhead
from results.record import Measurement

ERRORS: Mapping[str, Metric] = {"top-1": "test_error", "top-5": "top5_error"}
SCORES: Mapping[str, Metric] = {"SS": "mIoU_SS", "MS": "mIoU_MS", "MS+flip": "mIoU_MS_flip"}
OVERHEAD_LEGEND = (
    "extra FLOPs: auxiliary over backbone forwards, plus recomputation. step time: what a step takes more than that of "
    "E2E. batch: simulated, of one GPU."
)
IMAGENET_LEGEND = (
    f"saved: how far the peak is below that of the network's E2E, end-to-end training. {OVERHEAD_LEGEND} top-1, top-5: "
    "published validation error in per cent."
)
SEGMENTATION_LEGEND = (
    "saved: how far the peak is below that of E2E at the paper's batch 4 a GPU and crop 512x1024, also for other "
    f"batches and crops, as in the paper. {OVERHEAD_LEGEND} SS, MS, MS+flip: published mIoU in per cent, of one scale, "
    "several, and those with flipped images."
)


def imagenet(measurements: Sequence[Measurement]) -> list[Table]:
    """Memory, overheads and published errors of networks on ImageNet, below each other.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per device, version and set of options.

    Raises:
        ReportError: there are no measurements, or none on ImageNet.
    """
    tables = []
    for comparisons in _alike(measurements, "imagenet"):
        rows = [row for each in comparisons for row in each.rows]
        labels = (
            column("Network", rows, lambda row: row.network, align="left"),
            *cells.label_columns(rows),
            column("batch", rows, _batch),
        )
        saved = [cells.saved(row.peak_ratio) for row in rows]
        paper_saved = [cells.saved(row.published_peak_ratio) for row in rows]
        title = "imagenet: memory and overheads (InfoPro Table 4, MLAAN Table 3)"
        tables.append(_table(title, IMAGENET_LEGEND, comparisons, labels, (saved, paper_saved), ERRORS))
    return tables


def segmentation(measurements: Sequence[Measurement]) -> list[Table]:
    """Memory, overheads and published scores of segmentation on Cityscapes; batches and crops below each other.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per device, version and set of options.

    Raises:
        ReportError: there are no measurements, or none on Cityscapes.
    """
    tables = []
    for comparisons in _alike(measurements, "cityscapes"):
        rows = [row for each in comparisons for row in each.rows]
        reference = next((row for row in rows if row.method == "e2e" and row.published_memory_gb is not None), None)
        labels = (
            *cells.label_columns(rows),
            column("batch", rows, _batch),
            column("crop", rows, lambda row: f"{row.image_size}x{row.image_width or row.image_size}"),
        )
        saved = [_saved(row.peak_allocated_bytes, reference and reference.peak_allocated_bytes) for row in rows]
        paper_saved = [_saved(row.published_memory_gb, reference and reference.published_memory_gb) for row in rows]
        title = f"{rows[0].network} on cityscapes: memory and overheads (InfoPro Table 5)"
        tables.append(_table(title, SEGMENTATION_LEGEND, comparisons, labels, (saved, paper_saved), SCORES))
    return tables


def _alike(measurements: Sequence[Measurement], dataset: str) -> list[list[Comparison]]:
    """Comparisons on a dataset whose rows may share a table: all but network, size of images and batch agree."""
    tables: dict[object, list[Comparison]] = {}
    for comparison in compare(measurements):
        if comparison.workload.dataset == dataset:
            settings = (comparison.simulated_setting, comparison.measured_setting)
            batchless = tuple(setting and replace(setting, batch_size=0) for setting in settings)
            sizeless = replace(comparison.workload, network="", image_size=0, image_width=None)
            tables.setdefault((sizeless, *batchless), []).append(comparison)
    if not tables:
        name = {"imagenet": "imagenet", "cityscapes": "segmentation"}[dataset]
        raise ReportError(f"nothing for {name}: no case of this run is on {dataset}; peakbench run {dataset}")
    return list(tables.values())


def _table(
    title: str,
    legend: str,
    comparisons: Sequence[Comparison],
    labels: Group,
    saved: tuple[Sequence[str], Sequence[str]],
    scores: Mapping[str, Metric],
) -> Table:
    rows = [row for each in comparisons for row in each.rows]
    timed = any(each.measured for each in comparisons)
    printed = {name: [published(metric, row.place) for row in rows] for name, metric in scores.items()}
    sources = [figure.source for figures in printed.values() for figure in figures if figure]
    memory = (
        column(
            "peak\nGiB",
            rows,
            lambda row: cells.simulated_or_why(row, format_gib(row.peak_allocated_bytes)),
            source="simulated",
        ),
        Column("saved", tuple(saved[0]), source="simulated"),
    )
    printed_memory = (
        column("paper\nGB", rows, lambda row: format_gigabytes(row.published_memory_gb), source="published"),
        Column("paper\nsaved", tuple(saved[1]), source="published"),
    )
    flops = (
        column("extra\nFLOPs", rows, lambda row: format_change(row.theoretical_overhead), source="counted"),
        column("paper", rows, lambda row: format_change(row.published_theoretical_overhead), source="published"),
    )
    step = (
        *([column("step\ntime", rows, cells.step_overhead, source="measured")] if timed else []),
        column("paper\nstep time", rows, lambda row: format_overhead(row.published_step_ratio), source="published"),
    )
    shown = tuple(
        Column(
            f"paper\n{name}",
            tuple(f"{figure.value:.2f}" if figure else NOTHING for figure in figures),
            source="published",
        )
        for name, figures in printed.items()
    )
    figures = ("published_memory_gb", "published_theoretical_overhead", "published_step_ratio")
    return Table(
        title=title,
        labels=labels,
        groups=(memory, printed_memory, flops, step, shown),
        rows=tuple(rows),
        notes=(
            legend,
            notes.split_note(rows),
            *dict.fromkeys(notes.memory_note(each, batch=False) for each in comparisons),
            *dict.fromkeys(notes.time_note(each, [row.step_count for row in each.rows]) for each in comparisons),
            notes.MISSING,
            notes.source_note([*notes.sources_of(rows, *figures), *sources]),
            *notes.offset_notes(rows),
            *(
                f"{each.workload.network}: {note}"
                for each in comparisons
                for note in notes.problem_notes((*each.simulated, *each.measured))
            ),
        ),
    )


def _batch(row: Row) -> str:
    return str(row.simulated_batch_size or row.measured_batch_size)


def _saved(value: float | None, reference: float | None) -> str:
    return cells.saved(None if value is None or not reference else value / reference)
