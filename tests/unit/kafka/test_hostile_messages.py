"""The same hostile times in each time field of every topic: each decoder refuses them with a reason, and goes on."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema

from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings
from dualcast.timegrid import micros
from tests.registry import MemoryRegistry

TIME = micros(datetime(2022, 3, 27, 1, tzinfo=UTC))
# ``columns`` and ``feature_rows`` read long messages as arrays, and others by the Avro library.
DECODERS = [
    *((topic, "record", 2) for topic in Topic),
    *((Topic.OBSERVATIONS, "columns", count) for count in (2, 50)),
    *((Topic.FEATURES_INTRADAY, "feature_rows", count) for count in (2, 50)),
]
HOSTILE = {
    "nanoseconds": TIME * 1000,
    "two to the 62nd": 2**62,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "negative": -1,
    "the year 1": micros(datetime(1, 1, 1, tzinfo=UTC)),
    "the year 2200": micros(datetime(2200, 1, 1, tzinfo=UTC)),
    "the year 9999": micros(datetime(9999, 12, 31, 23, tzinfo=UTC)),
}
OTHER_TYPES: dict[str, Any] = {
    "plain": "long",
    "nanos": {"type": "long", "logicalType": "timestamp-nanos"},
    "local": {"type": "long", "logicalType": "local-timestamp-micros"},
}


def sample(schema: Any, count: int) -> Any:
    """A value of a schema, with lists of ``count`` elements and times as integers."""
    kind = schema if isinstance(schema, str) else schema[-1] if isinstance(schema, list) else schema["type"]
    if kind == "record":
        return {field["name"]: sample(field["type"], count) for field in schema["fields"]}
    if kind == "array":
        return [sample(schema["items"], count) for _ in range(count)]
    if kind == "enum":
        return schema["symbols"][0]
    simple = {"string": "x", "double": 1.5, "boolean": True, "bytes": b"x", "int": 0, "long": TIME, "map": {}}
    return simple[kind]


def time_fields(schema: Any, record: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each time of a record as the object that holds it and its name; of a list that of its last element."""
    for field in schema["fields"]:
        kind = field["type"]
        if isinstance(kind, dict) and kind.get("logicalType"):
            yield record, field["name"]
        elif isinstance(kind, dict) and kind["type"] == "array" and isinstance(kind["items"], dict):
            yield from time_fields(kind["items"], record[field["name"]][-1])


def with_times_as(schema: Any, kind: Any) -> Any:
    """A schema with another type in place of each time."""
    if isinstance(schema, dict):
        return kind if schema.get("logicalType") else {name: with_times_as(part, kind) for name, part in schema.items()}
    return [with_times_as(part, kind) for part in schema] if isinstance(schema, list) else schema


def message(registry: MemoryRegistry, topic: Topic, schema: Any, record: Any) -> bytes:
    schema_id = registry.register_schema(f"{topic}-value", Schema(json.dumps(schema), "AVRO"))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(with_times_as(schema, "long")), record)
    return struct.pack(">bI", 0, schema_id) + stream.getvalue()


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("topic", "how", "count"), DECODERS)
def test_a_time_out_of_range_in_any_field_is_refused_and_what_follows_is_decoded(
    registry: MemoryRegistry, topic: Topic, how: str, count: int, value: int
) -> None:
    schema = json.loads(schema_text(topic))
    sound, decode = sample(schema, count), getattr(Decoder(Settings(), topic), how)
    fields = len(list(time_fields(schema, sound)))
    assert fields
    for number in range(fields):
        spoilt = deepcopy(sound)
        holder, name = list(time_fields(schema, spoilt))[number]
        holder[name] = value
        with pytest.raises(DecodingError) as fault:
            decode(message(registry, topic, schema, spoilt))
        assert fault.value.reason == "bad_time", name
        assert fault.value.detail
        decode(message(registry, topic, schema, sound))


@pytest.mark.parametrize("kind", OTHER_TYPES.values(), ids=OTHER_TYPES)
@pytest.mark.parametrize("topic", Topic)
def test_a_record_whose_times_have_another_type_is_refused(registry: MemoryRegistry, topic: Topic, kind: Any) -> None:
    schema = with_times_as(json.loads(schema_text(topic)), kind)
    with pytest.raises(DecodingError) as fault:
        Decoder(Settings(), topic).record(message(registry, topic, schema, sample(schema, 2)))
    assert fault.value.reason == "bad_time"
