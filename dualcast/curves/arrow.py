"""Curves in Arrow: whole curves as structs, and the table with a row for each point that the lake stores.

A struct holds each field once, the microseconds of the points, and their values, level by level for each point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dualcast.curves.fields import CurveField, Rows
from dualcast.curves.forecast import FIELD_NAMES, FIELDS, TIME_FIELDS, Forecast, Point, field_values
from dualcast.curves.frames import row_fields
from dualcast.curves.quantiles import quantile_column
from dualcast.timegrid import from_micros, micros

TIME = pa.timestamp("us", "UTC")
_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    float: pa.float64(),
    int: pa.int64(),
    datetime: TIME,
    list[str]: pa.list_(pa.string()),
    list[float]: pa.list_(pa.float64()),
}


def arrow_type(field: CurveField) -> pa.DataType:
    """The type of a field; texts of a fixed set are strings."""
    return pa.string() if get_origin(field.type) is Literal else _TYPES[field.type]


# Times are whole microseconds here: Spark would convert timestamps inside of structs to local time.
CURVE = pa.struct(
    [
        *((f.name, pa.int64() if f.type is datetime else arrow_type(f)) for f in FIELDS),
        ("valid_time", pa.list_(pa.int64())),
        ("values", pa.list_(pa.float64())),
    ]
)


def row_schema(levels: Sequence[float]) -> pa.Schema:
    """The columns of stored curves: those of ``forecast_frame`` that are not partitions."""
    before, after = row_fields(Rows.LAKE)
    return pa.schema(
        [
            *((f.name, _row_type(f)) for f in before),
            ("valid_time", TIME),
            *((quantile_column(level), pa.float64()) for level in levels),
            *((f.name, _row_type(f)) for f in after),
        ]
    )


def row_table(curves: pa.RecordBatch, levels: Sequence[float]) -> pa.Table:
    """Encoded curves as rows, one for each point. A level that a curve lacks is null."""
    members = struct_members(curves["curve"])
    counts = pc.list_value_length(members["valid_time"]).to_numpy(zero_copy_only=False)
    curve_of_row = pa.array(np.repeat(np.arange(len(counts)), counts), pa.int64())
    columns = {
        f.name: _row_column(f, members[f.name]).take(curve_of_row) for part in row_fields(Rows.LAKE) for f in part
    }
    columns["valid_time"] = members["valid_time"].flatten().cast(TIME)
    columns |= _at_levels(members["quantile_levels"].to_pylist(), counts, members["values"].flatten(), levels)
    schema = row_schema(levels)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def with_columns_of(rows: pa.Table, levels: Sequence[float]) -> pa.Table:
    """Stored rows with the columns of ``row_schema``: levels that they lack are null, fields the default."""
    schema = row_schema(levels)
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.repeat(pa.scalar(_DEFAULTS.get(field.name), field.type), rows.num_rows)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def encoded_curves(forecasts: Iterable[Forecast]) -> pa.RecordBatch:
    """Curves as structs, one in a row, with the columns by which they are looked up: entity_id, issued_at, curve."""
    return keyed_structs(pa.array(map(_struct, forecasts), CURVE))


def decoded_curve(curve: Mapping[str, Any]) -> Forecast:
    """The curve of one of the structs."""
    members = dict(curve)
    times, values, width = members.pop("valid_time"), members.pop("values"), len(members["quantile_levels"])
    members |= {name: from_micros(members[name]) for name in TIME_FIELDS}
    points = [Point(from_micros(t), list(values[i * width : (i + 1) * width])) for i, t in enumerate(times)]
    return Forecast(**members, points=points)


def structs(columns: Mapping[str, Any], count: int) -> pa.RecordBatch:
    """Curves from columns, as ``encoded_curves`` returns them; ``valid_time`` and ``values`` are those of the points.

    A column is an Arrow array, or one value for all curves. A field that is left out has its default.
    """
    arrays = []
    for field in CURVE:
        column = columns.get(field.name, _DEFAULTS.get(field.name))
        is_array = isinstance(column, pa.Array)
        arrays.append(column if is_array else pa.repeat(pa.scalar(column, field.type), count))
    return keyed_structs(pa.StructArray.from_arrays(arrays, fields=list(CURVE)))


def keyed_structs(curves: pa.StructArray) -> pa.RecordBatch:
    """Structs with the columns by which they are looked up."""
    members = struct_members(curves)
    return pa.RecordBatch.from_arrays(
        [members["entity_id"], members["issued_at"].cast(TIME), curves], names=["entity_id", "issued_at", "curve"]
    )


def struct_members(curves: pa.StructArray) -> dict[str, pa.Array]:
    """The members of structs as columns."""
    return dict(zip((field.name for field in curves.type), curves.flatten(), strict=True))


_DEFAULTS = {f.name: f.default for f in FIELDS if not f.required}


def _row_type(field: CurveField) -> pa.DataType:
    return pa.string() if get_origin(field.type) is list else arrow_type(field)


def _row_column(field: CurveField, members: pa.Array) -> pa.Array:
    if get_origin(field.type) is list:
        return pc.binary_join(members, ";")
    return members.cast(TIME) if field.type is datetime else members


def _struct(forecast: Forecast) -> dict[str, Any]:
    members = dict(zip(FIELD_NAMES, field_values(forecast), strict=True))
    return {
        **members,
        **{name: micros(members[name]) for name in TIME_FIELDS},
        "valid_time": [micros(p.valid_time) for p in forecast.points],
        "values": [value for p in forecast.points for value in p.values],
    }


def _at_levels(
    of_curves: Sequence[Sequence[float]], counts: NDArray[np.int64], values: pa.Array, levels: Sequence[float]
) -> dict[str, pa.Array]:
    """The column of each level; curve i has ``counts[i]`` points with a value for each of ``of_curves[i]``."""
    width = np.array([len(of_curve) for of_curve in of_curves], dtype=np.int64)
    points = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.repeat(np.cumsum(counts * width) - counts * width, counts) + points * np.repeat(width, counts)
    columns = {}
    for level in levels:
        place = np.array([of_curve.index(level) if level in of_curve else -1 for of_curve in of_curves], dtype=np.int64)
        where = np.repeat(place, counts)
        columns[quantile_column(level)] = values.take(pa.array(begin + where, pa.int64(), mask=where < 0))
    return columns
