"""A message's schema cannot make its decoding expensive: the decoder refuses it before it reads the message."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema

from dualcast.adapters.kafka.topics import MAX_MESSAGE_BYTES
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.adapters.kafka.wire.schema_rules import UnsafeSchemaError, checked_schema
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings
from tests.registry import MemoryRegistry

_SUBJECTS = {
    "record": Topic.OBSERVATIONS,
    "columns": Topic.OBSERVATIONS,
    "feature_rows": Topic.FEATURES_INTRADAY,
}
_LINKED = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
_NESTED: Any = "long"
for _ in range(100):
    _NESTED = {"type": "array", "items": _NESTED}
# each record has two fields of the record before it: a value of the last one has 2 ** 20 parts
_DOUBLING = [
    {"type": "record", "name": f"D{i}", "fields": [{"name": n, "type": f"D{i - 1}" if i else "long"} for n in "ab"]}
    for i in range(20)
]
UNSAFE: dict[str, Any] = {
    "recursive": _LINKED,
    "nested": _NESTED,
    "nested by name": {"type": "record", "name": "All", "fields": [{"name": d["name"], "type": d} for d in _DOUBLING]},
    "array of null": {"type": "array", "items": "null"},
    "array of records of null": {
        "type": "array",
        "items": {"type": "record", "name": "Nil", "fields": [{"name": "nil", "type": "null"}]},
    },
    "map of empty records": {"type": "map", "values": {"type": "record", "name": "Empty", "fields": []}},
    "array of fixed of no bytes": {"type": "array", "items": {"type": "fixed", "name": "None", "size": 0}},
    "long": {"type": "enum", "name": "E", "symbols": [f"symbol_{i}" for i in range(20_000)]},
}


def wrapped(part: Any, topic: Topic) -> dict[str, Any]:
    """The topic's schema with one more field, which readers skip."""
    own = json.loads(schema_text(topic))
    return {**own, "fields": [{"name": "extra", "type": part}, *own["fields"]]}


@pytest.mark.parametrize("how", _SUBJECTS)
@pytest.mark.parametrize("kind", UNSAFE)
def test_unsafe_schemas_of_the_own_subject_are_refused_by_every_decoder(
    registry: MemoryRegistry, kind: str, how: str
) -> None:
    topic = _SUBJECTS[how]
    text = json.dumps(wrapped(UNSAFE[kind], topic))
    schema_id = registry.register_schema(f"{topic}-value", Schema(text, "AVRO"))
    # 10 ** 8 elements in a block, or a list of 20,000 links
    message = struct.pack(">bI", 0, schema_id) + b"\x80\x84\xaf\x5f\x00" + b"\x02" * 20_000
    with pytest.raises(DecodingError, match=f"schema {schema_id} is not valid") as fault:
        getattr(Decoder(Settings(), topic), how)(message)
    assert fault.value.reason == "not_avro"


@pytest.mark.parametrize("topic", Topic)
def test_the_schemas_of_all_topics_are_safe(topic: Topic) -> None:
    assert checked_schema(schema_text(topic)) == json.loads(schema_text(topic))


def test_an_optional_value_may_be_null() -> None:
    checked_schema(json.dumps(wrapped(["null", "string"], Topic.OBSERVATIONS)))
    with pytest.raises(UnsafeSchemaError):
        checked_schema(json.dumps(wrapped("null", Topic.OBSERVATIONS)))


@pytest.mark.parametrize("how", _SUBJECTS)
@pytest.mark.usefixtures("registry")
def test_messages_larger_than_a_topic_accepts_are_refused(how: str) -> None:
    with pytest.raises(DecodingError) as fault:
        getattr(Decoder(Settings(), _SUBJECTS[how]), how)(b"\0" * (MAX_MESSAGE_BYTES + 1))
    assert fault.value.reason == "too_large"
