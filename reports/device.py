"""What a GPU said: every peak with the simulator's error beside it, the least memory, and where a step's time goes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import fmean, median

from reports import cells
from reports.comparison import ReportError, workload_of
from reports.layout import Column, Group, Table
from reports.units import NOTHING, format_change, format_mib, format_milliseconds, format_percent
from results.record import Measurement, Readings
from results.statistics import host_bound_share

LEGEND = (
    "MiB are 2^20 bytes. requested, allocated, reserved: peaks of a steady step; first: allocated in the first. error: "
    "of the simulator, simulated over measured, less one. process: what NVML says the process holds; context: of it "
    "what is not in the allocator's segments. least: memory of segments with which training still runs."
)
TIME_LEGEND = (
    "host: share of a step in which the host was still queueing it; near 100% the host sets the pace. latency: a "
    "forward pass over one image. images/s: of forward passes over the batch. Medians. J: energy of a training step, a "
    "mean, because the counter of a card moves too rarely for single blocks."
)
_PEAKS = {
    "requested": "peak_requested_bytes",
    "allocated": "peak_allocated_bytes",
    "reserved": "peak_reserved_bytes",
    "first": "first_step_peak_allocated_bytes",
}

_Trio = tuple[Measurement, Readings, Readings]
"""A measured row, the readings of its simulation, and those of its least memory."""


def device(measurements: Sequence[Measurement]) -> list[Table]:
    """Peaks with the simulator's errors, least memory, time on host and device, and energy of every case on a GPU.

    Args:
        measurements: rows of one or several runs.

    Returns:
        One table per workload and GPU.

    Raises:
        ReportError: there are no measurements, or nothing was measured on a GPU.
    """
    if not measurements:
        raise ReportError("nothing to report: the run holds no measurements")
    rows = [row for row in measurements if row.provenance == "measured" and row.device == "cuda" and row.status == "ok"]
    if not rows:
        raise ReportError("nothing for device: no case of this run was measured on a GPU")
    simulated = {row.case: row.readings for row in measurements if row.provenance == "simulated" and row.status == "ok"}
    least = {(_place(row), row.case): row.readings for row in rows if row.measure == "least_memory"}
    steps = {(_place(row), row.case): row for row in reversed(rows)}
    steps |= {(_place(row), row.case): row for row in rows if row.measure == "step"}
    ordered = sorted(steps.values(), key=lambda row: (str(_table_key(row)), row.case.module_count))
    nothing = Readings()
    return [
        _to_table(
            [
                (
                    row,
                    simulated.get(replace(row.case, data="synthetic"), nothing),
                    least.get((_place(row), row.case), nothing),
                )
                for row in group
            ]
        )
        for _, group in groupby(ordered, key=_table_key)
    ]


def _place(row: Measurement) -> tuple[str, str]:
    return row.environment.device_name, row.environment.torch_version


def _table_key(row: Measurement) -> tuple[object, ...]:
    return (workload_of(row), row.case.batch_size, row.case.data, *_place(row))


def _to_table(trios: Sequence[_Trio]) -> Table:
    first = trios[0][0]
    workload = cells.name_workload(workload_of(first))
    labels = (
        Column("Method", tuple(row.case.method for row, *_ in trios), "left"),
        Column("K", tuple(str(row.case.module_count) for row, *_ in trios)),
    )
    groups: list[Group] = [
        (_shown(f"{name}\nMiB", trios, lambda own, field=field: format_mib(getattr(own, field))), _errors(trios, field))
        for name, field in _PEAKS.items()
    ]
    groups += [
        (
            _shown("process\nMiB", trios, lambda own: format_mib(own.device_process_bytes)),
            _shown("context\nMiB", trios, lambda own: format_mib(own.context_bytes)),
        ),
        (
            Column("least\nMiB", tuple(format_mib(own.least_memory_bytes) for *_, own in trios), source="measured"),
            Column("\nerror", tuple(_error(sim.least_memory_bytes, own.least_memory_bytes) for _, sim, own in trios)),
        ),
        (
            _shown("step\nms", trios, lambda own: format_milliseconds(_middle(own.step_seconds))),
            _shown("host\n", trios, _host_share),
            _shown("energy\nJ", trios, lambda own: _decimal(_mean(own.step_energy_joules))),
        ),
        (
            _shown("latency\nms", trios, lambda own: format_milliseconds(_middle(own.latency_seconds))),
            Column("\nimages/s", tuple(_throughput(row) for row, *_ in trios), source="measured"),
        ),
    ]
    flagged = [
        f"{row.case.method} K={row.case.module_count}: {', '.join(row.readings.flags)}"
        for row, *_ in trios
        if row.readings.flags
    ]
    return Table(
        title=f"{workload}, batch {first.case.batch_size}, on {first.environment.device_name}",
        labels=labels,
        groups=tuple(groups),
        rows=(),
        notes=(LEGEND, TIME_LEGEND, *(["Flagged: " + "; ".join(flagged) + "."] if flagged else [])),
    )


def _shown(header: str, trios: Sequence[_Trio], show: Callable[[Readings], str]) -> Column:
    return Column(header, tuple(show(row.readings) for row, *_ in trios), source="measured")


def _errors(trios: Sequence[_Trio], field: str) -> Column:
    return Column("\nerror", tuple(_error(getattr(sim, field), getattr(row.readings, field)) for row, sim, _ in trios))


def _error(simulated: int | None, measured: int | None) -> str:
    return format_change(None if simulated is None or not measured else simulated / measured - 1)


def _middle(samples: Sequence[float] | None) -> float | None:
    return median(samples) if samples else None


def _mean(samples: Sequence[float] | None) -> float | None:
    return fmean(samples) if samples else None


def _host_share(own: Readings) -> str:
    if not own.step_seconds or not own.step_host_seconds:
        return NOTHING
    return format_percent(host_bound_share(own.step_seconds, own.step_host_seconds))


def _throughput(row: Measurement) -> str:
    seconds = _middle(row.readings.inference_seconds)
    return NOTHING if not seconds else f"{row.case.batch_size / seconds:,.0f}"


def _decimal(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
