"""Files of older versions still load; `measurements_N.parquet` was written by schema version N."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results.migrate import added_columns, upgrade_rows
from results.schema import SCHEMA, SCHEMA_VERSION
from results.store import read_file, write_file

VERSION_1, VERSION_3, VERSION_4 = (Path(__file__).parent / f"measurements_{version}.parquet" for version in (1, 3, 4))


def test_a_file_of_version_1_reads_as_what_was_run_then():
    simulated, failed = read_file(VERSION_1)
    assert (simulated.case.method, simulated.case.module_count, simulated.status) == ("contsup[R1E]", 4, "ok")
    assert simulated.case.precision == "float32"
    assert (simulated.case.tf32, simulated.case.memory_format, simulated.case.cudnn_benchmark) == (
        True, "contiguous", False,
    )  # fmt: skip
    assert simulated.readings.peak_allocated_bytes == 1_234_567_168
    assert simulated.readings.least_memory_bytes is None
    assert simulated.readings.step_seconds == (0.5, 0.25)
    assert (failed.status, failed.message) == ("failed", "too bad")


def test_a_file_of_version_3_reads_as_what_was_run_then():
    simulated, measured, late = read_file(VERSION_3)
    assert (simulated.case.precision, simulated.case.memory_format) == ("bfloat16", "channels_last")
    assert {(row.case.allocator, row.case.compile, row.measure) for row in (simulated, measured, late)} == {
        ("", "none", "step")
    }
    assert simulated.readings.least_memory_bytes == 1_300_234_240
    assert measured.readings.first_step_peak_allocated_bytes == 1_210_000_000
    assert measured.readings.step_seconds == (0.5, 0.51)
    assert (measured.readings.blocks, measured.readings.peak_holders, measured.readings.flags) == (None, None, None)
    assert (measured.environment.driver_version, measured.environment.container) == ("580.65.06", None)
    assert (late.status, late.phase) == ("timeout", "training step")


def test_a_file_of_version_4_reads_with_what_nobody_asked_then_unknown():
    *_, measured = read_file(VERSION_4)
    assert (measured.case.method, measured.provenance, measured.status) == ("greedy", "measured", "ok")
    assert [block.side for block in measured.readings.blocks[:4]] == ["method", "e2e", "e2e", "method"]
    assert measured.readings.foreign_cpu_share is measured.environment.command is None
    assert measured.environment.cpu_limit is measured.environment.memory_limit_bytes is None


@pytest.mark.parametrize("old", [VERSION_1, VERSION_3, VERSION_4])
def test_an_old_file_written_anew_is_of_this_version_and_the_same(tmp_path, old):
    rows = read_file(old)
    write_file(tmp_path / "new.parquet", rows)
    assert pq.read_schema(tmp_path / "new.parquet").metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert read_file(tmp_path / "new.parquet") == rows


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_every_version_can_be_read_and_its_rows_become_whole(version):
    old = {name: 0 for name in SCHEMA.names if name not in added_columns(version)}
    (row,) = upgrade_rows([old], version)
    assert set(row) == set(SCHEMA.names)
    assert all(row[name] == 0 for name in old)


def test_a_damaged_old_file_is_refused_for_its_own_columns(tmp_path):
    table = pq.read_table(VERSION_1).drop_columns(["method", "peak_phase"])
    pq.write_table(table, tmp_path / "cut.parquet")
    with pytest.raises(OSError, match=r"lacks columns of schema 1: method, peak_phase$"):
        read_file(tmp_path / "cut.parquet")
