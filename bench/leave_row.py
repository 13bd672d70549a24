"""What runs in the process of a case: call the probe, and leave the row as a file in the folder of the run.

The file is there whole or not at all, and it is there before anybody is told: a run that dies loses nothing finished,
and the next one into the folder finds it.
"""

import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from bench.isolated import Report, describe, lift_memory_limit, shorten, status_of
from results.record import Measurement, Readings


def leave_row(
    template: Measurement, file: Path, function: str, arguments: tuple[object, ...], begun: float, report: Report
) -> None:
    """Call `function(*arguments, report)` for readings, and write the row.

    Raises:
        StoreError: the row cannot be written.
    """
    phase = "import"

    def note(now: str) -> None:
        nonlocal phase
        phase = now
        report(now)

    try:
        note(phase)
        row = replace(template, status="ok", readings=_read(function, arguments, note))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome
        row = _fail(template, phase, error)
    lift_memory_limit()
    note("store the row")
    # Only now: the measurement is not to carry the memory of a library that it does not need.
    from results.store import StoreError, write_file  # noqa: PLC0415

    def write(row: Measurement) -> None:
        write_file(file, [replace(row, wall_seconds=time.monotonic() - begun)])

    try:
        write(row)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - readings that no column can keep
        write(_fail(template, phase, error))


def _read(function: str, arguments: tuple[object, ...], report: Report) -> Readings:
    module, _, name = function.partition(":")
    readings = getattr(import_module(module), name)(*arguments, report)
    if not isinstance(readings, Readings):
        raise TypeError(f"{function} gave a {type(readings).__name__}, not readings")
    return readings


def _fail(template: Measurement, phase: str, error: BaseException) -> Measurement:
    return replace(template, status=status_of(error), phase=shorten(phase), message=describe(error))
