"""The Avro schema of the forecast topics is a contract of its own: it must have the fields that curves declare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

from dualcast.curves.fields import CurveField
from dualcast.curves.forecast import FIELDS
from dualcast.records import Topic, schema_text

TIME = {"type": "long", "logicalType": "timestamp-micros"}
TYPES: dict[Any, Any] = {
    str: "string",
    bool: "boolean",
    float: "double",
    int: "long",
    datetime: TIME,
    list[str]: {"type": "array", "items": "string"},
    list[float]: {"type": "array", "items": "double"},
}


def differences(fields: Sequence[CurveField]) -> list[str]:
    """The differences between the schema and the declared fields. Documentation may differ."""
    schema = {field["name"]: field for field in json.loads(schema_text(Topic.FORECASTS_DAY_AHEAD))["fields"]}
    found = [f"the schema lacks the field {field.name}" for field in fields if field.name not in schema]
    for field in fields:
        written = schema.get(field.name, {})
        if written and type_of(written["type"]) != avro_type(field):
            found.append(f"{field.name} is {written['type']}, declared as {field.type}")
        if written and not field.required and written.get("default") != field.default:
            found.append(f"{field.name} needs the default {field.default!r}")
    declared = {field.name for field in fields} | {"points"}
    return found + [f"the schema has the field {name}, which no curve has" for name in schema.keys() - declared]


def avro_type(field: CurveField) -> Any:
    if get_origin(field.type) is Literal:
        return {"type": "enum", "symbols": list(get_args(field.type))}
    return TYPES[field.type]


def type_of(written: Any) -> Any:
    return {k: v for k, v in written.items() if k != "name"} if isinstance(written, dict) else written


def test_the_schema_has_the_declared_fields() -> None:
    assert differences(FIELDS) == []


def test_the_comparison_names_what_differs() -> None:
    first, *others = FIELDS
    assert differences([*FIELDS, replace(first, name="weather_run")]) == ["the schema lacks the field weather_run"]
    assert differences(others) == ["the schema has the field use_case, which no curve has"]
    assert differences([replace(first, type=bool), *others]) == ["use_case is string, declared as <class 'bool'>"]
    assert differences([replace(first, default="x"), *others]) == ["use_case needs the default 'x'"]
