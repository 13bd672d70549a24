import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.record import Case, Environment, Measurement, Readings
from results.schema import SCHEMA, SCHEMA_VERSION
from results.store import StoreError, open_run, read_file, read_runs, write_file

whole = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=False)
SIMPLE = {pa.string(): st.text(), pa.int64(): whole, pa.float64(): real, pa.bool_(): st.booleans()}


def any_of(column, hint):
    """Any value of a column whose field has this type."""
    kind = next((choice for choice in get_args(hint) if choice is not NoneType), hint) if column.nullable else hint
    if pa.types.is_list(column.type):
        item = get_args(kind)[0]
        values = st.lists(any_of(column.type.value_field.with_nullable(nullable=False), item), max_size=2).map(tuple)
    elif pa.types.is_struct(column.type):
        hints = get_type_hints(kind)
        values = st.builds(kind, **{member.name: any_of(member, hints[member.name]) for member in column.type})
    else:
        values = SIMPLE[column.type]
    return st.none() | values if column.nullable else values


def values(record):
    """Any values the record's columns may hold."""
    hints = get_type_hints(record)
    columns = {name: SCHEMA.field(name) for name in record.__dataclass_fields__ if name in SCHEMA.names}
    return st.fixed_dictionaries({name: any_of(column, hints[name]) for name, column in columns.items()})


any_measurement = st.builds(
    lambda case, own, readings, environment: Measurement(
        **own, case=Case(**case), readings=Readings(**readings), environment=Environment(**environment)
    ),
    *map(values, (Case, Measurement, Readings, Environment)),
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(any_measurement, max_size=2))
def test_what_is_read_is_what_was_written(tmp_path, rows):
    write_file(tmp_path / "run.parquet", rows)
    assert read_file(tmp_path / "run.parquet") == rows


def test_not_measured_stays_apart_from_zero_and_from_an_empty_list(tmp_path, measurement):
    write_file(tmp_path / "run.parquet", [measurement])
    (row,) = read_file(tmp_path / "run.parquet")
    assert row.readings.reference_step_seconds == ()
    assert row.readings.inference_seconds is None
    assert row.readings.parameter_count is None


def test_any_parquet_reader_finds_the_schema_in_the_file(tmp_path, measurement):
    write_file(tmp_path / "run.parquet", [measurement])
    schema = pq.read_schema(tmp_path / "run.parquet")
    assert schema.names == SCHEMA.names
    assert schema.metadata[b"kind"] == b"peakbench.measurements"
    assert schema.field("peak_allocated_bytes").metadata[b"unit"] == b"B"


# What read_file refuses


@pytest.fixture
def path(tmp_path, measurement):
    """A good file with one measurement."""
    write_file(tmp_path / "run.parquet", [measurement])
    return tmp_path / "run.parquet"


def rewrite(path, *, metadata=None, table=None):
    """Write the file again with other metadata or another table."""
    table = pq.read_table(path) if table is None else table
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | (metadata or {})), path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*absent\.parquet: No such file"):
        read_file(tmp_path / "absent.parquet")


@pytest.mark.parametrize("content", [b"", b"method,network\ne2e,resnet32\n"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.parquet is not a Parquet file"):
        read_file(tmp_path / "x.parquet")


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused_wherever_it_was_cut(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: max(4, int(part * len(content)))])
    with pytest.raises(StoreError, match=r"is cut short \(\d+ bytes\)"):
        read_file(path)


def test_no_flipped_bit_of_a_data_page_changes_what_is_read(path, measurement):
    content = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset
    outcomes = []
    for position in range(start, start + column.total_compressed_size):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            outcomes.append(read_file(path))
        except StoreError as error:
            outcomes.append(str(error).partition(":")[0])
    # Some bits of a page header mean nothing to a reader; none may give other values.
    assert all(outcome in ([measurement], f"{path} is damaged") for outcome in outcomes)
    assert outcomes.count(f"{path} is damaged") > len(outcomes) / 2


def test_a_damaged_footer_is_refused(path):
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:footer] + bytes(100) + content[footer + 100 :])
    with pytest.raises(StoreError, match="is damaged"):
        read_file(path)


def test_foreign_parquet_is_refused_with_its_columns(tmp_path):
    pq.write_table(pa.table({"model": ["bert"], "loss": [0.1]}), tmp_path / "x.parquet")
    with pytest.raises(StoreError, match=r"not peakbench's \(columns: model, loss\)"):
        read_file(tmp_path / "x.parquet")


def test_another_kind_with_the_same_columns_is_foreign(path):
    rewrite(path, metadata={b"kind": b"peakbench.something_else"})
    with pytest.raises(
        StoreError, match=r"not peakbench's \(columns: method, network, dataset, image_size, .*\.\.\.\)"
    ):
        read_file(path)


def test_a_newer_schema_asks_for_an_upgrade(path):
    rewrite(path, metadata={b"schema_version": b"7"})
    reach = rf"\(schema 7, this one reads up to {SCHEMA_VERSION}\): upgrade"
    with pytest.raises(StoreError, match=f"written by a newer peakbench {reach}"):
        read_file(path)


def test_a_schema_version_that_is_no_number_is_refused(path):
    rewrite(path, metadata={b"schema_version": b"one"})
    with pytest.raises(StoreError, match="does not say its schema version"):
        read_file(path)


def test_missing_columns_are_named(path):
    rewrite(path, table=pq.read_table(path).drop_columns(["device", "first_loss"]))
    with pytest.raises(StoreError, match=f"lacks columns of schema {SCHEMA_VERSION}: device, first_loss"):
        read_file(path)


def test_a_column_of_the_wrong_type_is_named_with_both_types(path):
    table = pq.read_table(path)
    place = table.schema.get_field_index("batch_size")
    rewrite(path, table=table.set_column(place, "batch_size", pa.array(["1024"])))
    with pytest.raises(StoreError, match="column batch_size is string, expected int64 without nulls"):
        read_file(path)


def test_a_column_more_and_another_order_do_no_harm(path, measurement):
    table = pq.read_table(path)
    rewrite(path, table=table.select(table.column_names[::-1]).append_column("note", pa.array(["mine"])))
    assert read_file(path) == [measurement]


# What write_file leaves behind


def fail_with(monkeypatch, call, number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*call, fail)


@pytest.mark.parametrize("call", [(os, "fsync"), (Path, "replace")], ids=["writing", "renaming"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_else(path, measurement, monkeypatch, call):
    fail_with(monkeypatch, call, errno.ENOSPC)
    message = r"cannot write .*run\.parquet: No space left on device; free some space or choose another --out"
    with pytest.raises(StoreError, match=message):
        write_file(path, [measurement, measurement])
    assert list(path.parent.iterdir()) == [path]
    assert read_file(path) == [measurement]


def test_a_missing_folder_is_an_error_of_the_store(tmp_path, measurement):
    with pytest.raises(StoreError, match=r"cannot write .*No such file or directory"):
        write_file(tmp_path / "absent" / "run.parquet", [measurement])


def test_an_interrupt_leaves_no_temporary_file(path, measurement, monkeypatch):
    def interrupt(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, [measurement])
    assert list(path.parent.iterdir()) == [path]


# read_runs


def test_a_folder_stands_for_its_parquet_files_sorted_by_name(tmp_path, with_modules):
    write_file(tmp_path / "b.parquet", [with_modules(8)])
    write_file(tmp_path / "a.parquet", [with_modules(4)])
    (tmp_path / "notes.txt").write_text("not a run")
    assert read_runs(tmp_path) == [with_modules(4), with_modules(8)]


@pytest.mark.parametrize(
    ("earlier", "later", "stays"),
    [
        ("ok", "ok", "later"),
        ("failed", "ok", "later"),
        ("failed", "timeout", "later"),
        ("ok", "failed", "earlier"),
        ("ok", "out_of_memory", "earlier"),
    ],
)
def test_a_later_row_replaces_its_earlier_self_unless_that_alone_is_ok(earlier, later, stays, tmp_path, measurement):
    rows = {
        "earlier": replace(measurement, status=earlier),
        "later": replace(measurement, status=later, started_at="2026-03-15T13:00:00+00:00"),
    }
    for order in (("earlier", "later"), ("later", "earlier")):  # whatever the files are called
        for name, which in zip("ab", order, strict=True):
            write_file(tmp_path / f"{name}.parquet", [rows[which]])
        assert read_runs(tmp_path) == [rows[stays]]


def test_of_rows_started_at_once_the_last_read_stays(tmp_path, measurement):
    rows = [replace(measurement, status="failed", phase=phase) for phase in ("memory", "inference")]
    write_file(tmp_path / "a.parquet", rows)
    assert read_runs(tmp_path / "a.parquet") == rows[1:]


def test_a_failed_row_that_a_killed_run_left_does_not_hide_an_earlier_one(tmp_path, measurement):
    with open_run(tmp_path, "first") as run:
        run.add(measurement)
    with open_run(tmp_path, "killed") as run:
        write_file(run.row_file(measurement), [replace(measurement, status="failed")])
    with open_run(tmp_path, "next") as run:
        assert run.earlier == [measurement]
    assert read_runs(tmp_path) == [measurement]


def test_simulated_and_measured_rows_of_a_case_are_both_kept(tmp_path, measurement):
    rows = [measurement, replace(measurement, provenance="measured")]
    write_file(tmp_path / "a.parquet", rows)
    assert read_runs([tmp_path]) == rows


def test_a_missing_path_and_an_empty_folder_are_told_apart(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*absent: No such file"):
        read_runs([tmp_path / "absent"])
    with pytest.raises(StoreError, match=r"no measurements in .*: the folder has no \.parquet file"):
        read_runs([tmp_path])


# open_run


def test_a_folder_that_is_removed_under_a_run_comes_back_with_all_its_rows(tmp_path, with_modules):
    folder = tmp_path / "out"
    with open_run(folder, "smoke") as run:
        run.add(with_modules(4))
        shutil.rmtree(folder)
        write_file(run.row_file(with_modules(8)), [with_modules(8)])  # as the process of a case does
        run.add(with_modules(8))
    assert read_runs(folder) == [with_modules(4), with_modules(8)]


def test_a_run_writes_its_own_file_from_the_first_measurement_on(tmp_path, measurement):
    with open_run(tmp_path / "new" / "out", "smoke") as run:
        assert run.earlier == []
        assert not run.path.exists()
        run.add(measurement)
        assert read_file(run.path) == [measurement]
    assert re.fullmatch(rf"smoke-\d{{8}}T\d{{12}}Z-{os.getpid()}\.parquet", run.path.name)


def test_a_run_without_measurements_leaves_no_file(tmp_path):
    with open_run(tmp_path, "smoke"):
        pass
    assert not list(tmp_path.glob("*.parquet"))


def test_a_later_run_sees_the_earlier_one_and_never_overwrites_it(tmp_path, with_modules):
    for count in (2, 4, 8):
        with open_run(tmp_path, "smoke") as run:
            run.add(with_modules(count))
    assert run.earlier == [with_modules(2), with_modules(4)]
    assert len(list(tmp_path.glob("*.parquet"))) == 3


def test_after_a_full_disk_a_run_goes_on_with_the_next_measurement(tmp_path, with_modules, monkeypatch):
    with open_run(tmp_path, "smoke") as run:
        run.add(with_modules(2))
        with monkeypatch.context() as full:
            fail_with(full, (os, "fsync"), errno.ENOSPC)
            with pytest.raises(StoreError, match="No space left"):
                run.add(with_modules(4))
        run.add(with_modules(8))
    assert read_file(run.path) == [with_modules(2), with_modules(8)]


def test_a_run_is_not_opened_over_a_file_it_cannot_read(tmp_path):
    (tmp_path / "old.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(StoreError, match="is cut short"), open_run(tmp_path, "smoke"):
        pytest.fail("the run was opened")


def test_leftovers_of_killed_runs_go_and_files_of_others_stay(tmp_path):
    mine = tmp_path / ".smoke-20260315T120000000000Z-7.parquet.7.partial"
    others = [tmp_path / ".parquet.partial", tmp_path / "data.partial", tmp_path / ".notes.parquet"]
    for file in (mine, *others[:2]):
        file.write_bytes(b"")
    with open_run(tmp_path, "smoke"):
        assert not mine.exists()
        assert all(file.exists() for file in others[:2])


def test_a_path_that_is_a_file_is_refused(path):
    with pytest.raises(StoreError, match="is a file, not a folder; choose another --out"), open_run(path, "smoke"):
        pytest.fail("the run was opened")


def test_a_folder_that_cannot_be_made_is_refused(path):
    with pytest.raises(StoreError, match="Not a directory; choose another --out"), open_run(path / "out", "smoke"):
        pytest.fail("the run was opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied; allow writing there"), open_run(tmp_path, "smoke"):
        pytest.fail("the run was opened")


def test_permission_denied_says_the_way_out(tmp_path, monkeypatch):
    fail_with(monkeypatch, (Path, "mkdir"), errno.EACCES)
    with pytest.raises(StoreError, match="allow writing there or choose another"), open_run(tmp_path, "smoke"):
        pytest.fail("the run was opened")


def test_the_lock_is_free_again_after_a_run_that_raised(tmp_path):
    with pytest.raises(ZeroDivisionError), open_run(tmp_path, "smoke"):
        raise ZeroDivisionError
    with open_run(tmp_path, "smoke"):
        pass
