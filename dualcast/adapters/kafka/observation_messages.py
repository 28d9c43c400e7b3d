"""Messages of ``observations.v1``, from bytes to columns, fast; whatever they hold, only UnreadableError comes out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro
import httpx2
import numpy as np
import stamina
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException

from dualcast.adapters.kafka.observation_columns import OtherLayoutError, read_columns
from dualcast.observations.columns import Columns
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings

NOT_AVRO = "not_avro"
WRONG_SCHEMA = "wrong_schema"

_MAGIC = 0
_HEADER_BYTES = 5
_TIMEOUT_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0
# Random bytes name random schemas: what is remembered of them has a bound.
_SCHEMAS_REMEMBERED = 4096
_NO_SUCH_SCHEMA = (400, 404, 422)
# What fastavro raises on bytes that are not of the schema.
_BROKEN = (EOFError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, AttributeError)


class UnreadableError(ValueError):
    """A message cannot be read: ``reason`` is a short code, ``detail`` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Observed:
    """A message as columns, and a way to each observation as a record, with times in microseconds since 1970."""

    entity_id: str
    columns: Columns
    record: Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Schemas:
    """What a message was written with, and what it is to be read as where that is not the same."""

    writer: Any
    reader: Any | None


class ObservationReader:
    """Decodes messages; fetches each writer's schema once."""

    def __init__(self, settings: Settings) -> None:
        self._client = SchemaRegistryClient({"url": settings.registry, "timeout": _TIMEOUT_SECONDS})
        self._own = _plain_times(json.loads(schema_text(Topic.OBSERVATIONS)))
        self._schemas = lru_cache(_SCHEMAS_REMEMBERED)(self._fetched)

    def read(self, value: bytes | None) -> Observed:
        """The columns of a message. Raises UnreadableError; waits for the registry where that is away."""
        if value is None or len(value) < _HEADER_BYTES or value[0] != _MAGIC:
            raise UnreadableError(NOT_AVRO, "no Confluent header")
        schemas = self._schemas(int.from_bytes(value[1:_HEADER_BYTES], "big"))
        if isinstance(schemas, str):
            raise UnreadableError(NOT_AVRO, schemas)
        if schemas.reader is None:
            with suppress(OtherLayoutError):
                entity_id, columns, written = read_columns(value, _HEADER_BYTES)
                return Observed(entity_id, columns, lambda i: _observation(written(i), schemas.writer))
        record = _decoded(value, schemas)
        try:
            return Observed(record["entity_id"], _columns(record["observations"]), record["observations"].__getitem__)
        except OverflowError as error:
            raise UnreadableError(NOT_AVRO, str(error)) from error

    def close(self) -> None:
        """Let go of the registry."""
        self._client.close()

    @stamina.retry(on=(httpx2.TransportError, SchemaRegistryError), attempts=None, timeout=_PATIENCE_SECONDS)
    def _fetched(self, schema_id: int) -> _Schemas | str:
        """The schemas behind an id, or why there are none."""
        try:
            text = self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            if error.http_status_code in _NO_SUCH_SCHEMA:
                return f"the registry knows no schema {schema_id}"
            raise
        try:
            writer = _plain_times(json.loads(text or ""))
            reader = None if writer == self._own else fastavro.parse_schema(self._own)
            return _Schemas(fastavro.parse_schema(writer), reader)
        except (SchemaParseException, *_BROKEN) as error:
            return f"schema {schema_id} is not one: {error}"


def _plain_times(schema: Any) -> Any:
    """A schema without logical types: times stay the integers that they are on the wire, and no datetime is made."""
    if isinstance(schema, dict):
        return {name: _plain_times(part) for name, part in schema.items() if name not in ("logicalType", "doc")}
    return [_plain_times(part) for part in schema] if isinstance(schema, list) else schema


def _decoded(value: bytes, schemas: _Schemas) -> dict[str, Any]:
    """The record of a message. Raises UnreadableError."""
    stream = io.BytesIO(value)
    stream.seek(_HEADER_BYTES)
    try:
        record: dict[str, Any] = fastavro.schemaless_reader(stream, schemas.writer, schemas.reader)
    except SchemaResolutionError as error:
        raise UnreadableError(WRONG_SCHEMA, str(error)) from error
    except _BROKEN as error:
        raise UnreadableError(NOT_AVRO, f"{type(error).__name__}: {error}") from error
    if stream.tell() != len(value):
        raise UnreadableError(NOT_AVRO, f"{len(value) - stream.tell()} bytes too many")
    return record


def _observation(value: bytes, batch: Any) -> dict[str, Any]:
    """One observation of a batch that is known to be sound; ``batch`` is its schema."""
    (items,) = (field["type"]["items"] for field in batch["fields"] if field["name"] == "observations")
    record: Any = fastavro.schemaless_reader(io.BytesIO(value), items, None)
    found: dict[str, Any] = record
    return found


def _columns(records: list[dict[str, Any]]) -> Columns:
    return Columns(
        variable=np.array([r["variable"] for r in records], dtype=object),
        valid_time=np.array([r["valid_time"] for r in records], dtype=np.int64),
        resolution=np.array([r["resolution"] for r in records], dtype=object),
        value=np.array([r["value"] for r in records], dtype=np.float64),
        unit=np.array([r["unit"] for r in records], dtype=object),
        published_at=np.array([r["published_at"] for r in records], dtype=np.int64),
    )
