"""Reads files of older schema versions: one step per version, each from one version's rows to the next one's.

A column that a version adds gets what was true before there was a choice; what nobody measured is None.
"""

from collections.abc import Callable, Iterable
from typing import Any

from results.schema import SCHEMA_VERSION

Row = dict[str, Any]


def upgrade_rows(rows: Iterable[Row], version: int) -> list[Row]:
    """Rows as the present schema has them.

    Args:
        rows: column name -> value, as a file of that version holds them.
        version: schema version of the file, at most `SCHEMA_VERSION`.
    """
    upgraded = [dict(row) for row in rows]
    for step in range(version, SCHEMA_VERSION):
        upgraded = [_STEPS[step](row) for row in upgraded]
    return upgraded


def added_columns(version: int) -> frozenset[str]:
    """Columns that the present schema has and files of that version lack."""
    return frozenset().union(*(_ADDED[step] for step in range(version, SCHEMA_VERSION)))


def _to_2(row: Row) -> Row:
    """Version 2 knows images that are not square."""
    return row | {"image_width": None}


def _to_3(row: Row) -> Row:
    """Version 3 says how numbers are kept and computed; there were torch's defaults alone before."""
    return row | {"tf32": True, "memory_format": "contiguous", "cudnn_benchmark": False, "least_memory_bytes": None}


def _to_4(row: Row) -> Row:
    """Version 4 measures more; nobody chose allocator settings or compiled, and every row was of steps."""
    return row | {"allocator": "", "compile": "none", "measure": "step"} | dict.fromkeys(_NEW_IN_4)


def _to_5(row: Row) -> Row:
    """Version 5 says more of the CPU and how the run was begun."""
    return row | dict.fromkeys(_NEW_IN_5)


_NEW_IN_5 = ("foreign_cpu_share", "command", "cpu_capability", "cpu_governor", "cpu_limit", "memory_limit_bytes")
_NEW_IN_4 = (
    "peak_active_bytes", "emptied_peak_reserved_bytes", "peak_inactive_split_bytes", "allocation_retry_count",
    "first_step_peak_requested_bytes", "first_step_peak_active_bytes", "first_step_peak_reserved_bytes", "peak_holders",
    "peak_pinned_bytes", "peak_resident_bytes", "resident_before_bytes",
    "device_process_bytes", "device_process_source", "context_bytes",
    "least_memory_probes", "step_host_seconds", "reference_step_host_seconds", "step_energy_joules",
    "reference_step_energy_joules", "block_step_count", "blocks", "latency_seconds", "reference_latency_seconds",
    "inference_peak_allocated_bytes", "inference_block_pass_count", "latency_block_pass_count",
    "warm_up_step_count", "steps_counted", "phases", "device_uuid", "flags",
    "container", "allocator_settings", "default_clock_hertz", "set_clock_hertz", "persistence_mode", "mig_mode",
)  # fmt: skip

_STEPS: dict[int, Callable[[Row], Row]] = {1: _to_2, 2: _to_3, 3: _to_4, 4: _to_5}
"""From the version that is the key to the next."""
_ADDED: dict[int, frozenset[str]] = {version: frozenset(step({})) for version, step in _STEPS.items()}
