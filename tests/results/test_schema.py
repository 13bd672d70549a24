import types
import typing
from dataclasses import is_dataclass

import pyarrow as pa
import pytest

from results.record import Case, Environment, Measurement, Readings
from results.schema import KIND, SCHEMA, SCHEMA_VERSION

ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_field(name, hint):
    """The Arrow field that a record's field of this type is stored as, read from its annotations."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = [choice for choice in choices if choice is not types.NoneType]
    return pa.field(name, arrow_type(kind), nullable=types.NoneType in choices)


def arrow_type(kind):
    if typing.get_origin(kind) is typing.Literal:
        return pa.string()
    if typing.get_origin(kind) is tuple:
        return pa.list_(arrow_type(typing.get_args(kind)[0]))
    if is_dataclass(kind):
        return pa.struct([arrow_field(name, hint) for name, hint in typing.get_type_hints(kind).items()])
    return ARROW[kind]


def record_columns():
    """Every column of the record as its annotations have it."""
    hints = [
        (name, hint)
        for record in (Case, Measurement, Readings, Environment)
        for name, hint in typing.get_type_hints(record).items()
    ]
    return [arrow_field(name, hint) for name, hint in hints if name not in {"case", "readings", "environment"}]


def test_columns_are_the_fields_of_the_record_in_order(measurement):
    assert SCHEMA.names == list(measurement.to_row())


@pytest.mark.parametrize("expected", record_columns(), ids=lambda field: field.name)
def test_a_column_has_the_type_of_its_field_and_is_null_only_where_the_record_may_be_none(expected):
    column = SCHEMA.field(expected.name)
    assert (column.type, column.nullable) == (expected.type, expected.nullable)


UNITS = {
    "_bytes": b"B",
    "_seconds": b"s",
    "_flops": b"FLOP",
    "_macs": b"multiply-add",
    "_joules": b"J",
    "_hertz": b"Hz",
}


@pytest.mark.parametrize("column", list(SCHEMA), ids=SCHEMA.names)
def test_every_column_is_described_and_states_the_unit_its_name_promises(column):
    assert column.metadata[b"description"]
    promised = [unit for ending, unit in UNITS.items() if column.name.endswith(ending)]
    assert not promised or column.metadata[b"unit"] == promised[0]


def test_the_schema_says_what_it_is_and_its_version():
    assert SCHEMA.metadata == {b"kind": KIND.encode(), b"schema_version": str(SCHEMA_VERSION).encode()}
