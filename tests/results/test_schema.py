import types
import typing
from dataclasses import fields

import pyarrow as pa
import pytest

from results.record import Case, Environment, Measurement, Readings
from results.schema import KIND, SCHEMA, SCHEMA_VERSION

ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[int, ...]: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
}


def record_columns():
    """(name, Arrow type, nullable) of every field of the record, read from its annotations."""
    columns = []
    for record in (Case, Measurement, Readings, Environment):
        hints = typing.get_type_hints(record)
        for name in (field.name for field in fields(record)):
            if name in {"case", "readings", "environment"}:
                continue
            hint = hints[name]
            choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            (kind,) = [choice for choice in choices if choice is not types.NoneType]
            if typing.get_origin(kind) is typing.Literal:
                kind = str
            columns.append((name, ARROW[kind], types.NoneType in choices))
    return columns


def test_columns_are_the_fields_of_the_record_in_order(measurement):
    assert SCHEMA.names == list(measurement.to_row())


@pytest.mark.parametrize(("name", "kind", "nullable"), record_columns())
def test_a_column_has_the_type_of_its_field_and_is_null_only_where_the_record_may_be_none(name, kind, nullable):
    column = SCHEMA.field(name)
    assert (column.type, column.nullable) == (kind, nullable)


UNITS = {"_bytes": b"B", "_seconds": b"s", "_flops": b"FLOP", "_macs": b"multiply-add"}


@pytest.mark.parametrize("column", list(SCHEMA), ids=SCHEMA.names)
def test_every_column_is_described_and_states_the_unit_its_name_promises(column):
    assert column.metadata[b"description"]
    promised = [unit for ending, unit in UNITS.items() if column.name.endswith(ending)]
    assert not promised or column.metadata[b"unit"] == promised[0]


def test_the_schema_says_what_it_is_and_its_version():
    assert SCHEMA.metadata == {b"kind": KIND.encode(), b"schema_version": str(SCHEMA_VERSION).encode()}
