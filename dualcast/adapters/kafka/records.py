"""Avro in the Confluent wire format, decoded in Spark's Python workers, many messages at a time.

Times stay whole microseconds. What cannot be decoded is a fault, not an error: the job goes on.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyarrow as pa
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from fastavro import parse_schema, schemaless_reader
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException

from dualcast.records import Topic, schema_text

_HEADER = struct.Struct(">bI")
_TIMEOUT_SECONDS = 30.0
_NO_SUCH_SCHEMA = (400, 404, 422)
NOT_AVRO = "not_avro"
WRONG_SCHEMA = "wrong_schema"
WRONG_KEY = "wrong_key"


class UndecodableError(ValueError):
    """A message is not a record of a registered schema under its entity's key."""

    def __init__(self, text: str, reason: str = NOT_AVRO) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Reader:
    """Decodes the values of one topic to records of the schema that this code knows."""

    registry: str
    topic: Topic
    _writers: dict[int, Any] = field(default_factory=dict)

    def keyed_record(self, key: bytes | None, value: bytes | None) -> dict[str, Any]:
        """The record of a message, whose key must name the record's entity. Raises UndecodableError."""
        record = self.record(value or b"")
        if (key or b"") != record["entity_id"].encode():
            raise UndecodableError(f"the record belongs to {record['entity_id']!r}", WRONG_KEY)
        return record

    def record(self, value: bytes) -> dict[str, Any]:
        """The record behind the bytes, times in microseconds. Raises UndecodableError."""
        writer, known = self._writer_of(value), _own_schema(self.topic)
        stream = io.BytesIO(value)
        stream.seek(_HEADER.size)
        try:
            record = schemaless_reader(stream, writer, None if writer == known else known)
        except SchemaResolutionError as error:
            raise UndecodableError(str(error), WRONG_SCHEMA) from error
        except (EOFError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
            raise UndecodableError(f"{type(error).__name__}: {error}") from error
        if stream.tell() != len(value) or not isinstance(record, dict):
            raise UndecodableError("bytes are left over")
        return record

    def _writer_of(self, value: bytes) -> Any:
        if len(value) < _HEADER.size:
            raise UndecodableError("shorter than a header")
        magic, schema_id = _HEADER.unpack_from(value)
        if magic != 0:
            raise UndecodableError("no Confluent header")
        if schema_id not in self._writers:
            self._writers[schema_id] = _registered(self.registry, schema_id)
        return self._writers[schema_id]


@cache
def reader(registry: str, topic: Topic) -> Reader:
    """The process's reader of a topic, which knows the schemas seen so far."""
    return Reader(registry, topic)


def decoded(
    batches: Iterator[pa.RecordBatch], registry: str, topic: Topic
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | UndecodableError]]:
    """Each Kafka row (key, value, topic, partition, offset) with its record, or with what is wrong with it."""
    source = reader(registry, topic)
    for batch in batches:
        for message in batch.to_pylist():
            try:
                yield message, source.keyed_record(message["key"], message["value"])
            except UndecodableError as error:
                yield message, error


@cache
def _own_schema(topic: Topic) -> Any:
    return parse_schema(_plain(json.loads(schema_text(topic))))


def _registered(registry: str, schema_id: int) -> Any:
    """A writer's schema. Raises UndecodableError where the registry has none of this id."""
    client = SchemaRegistryClient({"url": registry, "timeout": _TIMEOUT_SECONDS})
    try:
        text = client.get_schema(schema_id).schema_str
    except SchemaRegistryError as error:
        if error.http_status_code in _NO_SUCH_SCHEMA:
            raise UndecodableError(f"the registry has no schema {schema_id}") from error
        raise
    try:
        return parse_schema(_plain(json.loads(text or "")))
    except (SchemaParseException, ValueError, KeyError, TypeError) as error:
        raise UndecodableError(f"schema {schema_id} is not one: {error}") from error


def _plain(schema: Any) -> Any:
    """A schema without logical types, so that times stay whole numbers."""
    if isinstance(schema, dict):
        return {k: _plain(v) for k, v in schema.items() if k not in ("logicalType", "doc")}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema
