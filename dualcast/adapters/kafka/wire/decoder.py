"""The decoder of all topics: bytes to records, to columns of observations, or to feature rows.

Whatever the bytes are, only DecodingError is raised because of them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException

from dualcast.adapters.kafka.topics import MAX_MESSAGE_BYTES
from dualcast.adapters.kafka.wire.avro_arrays import OtherLayoutError
from dualcast.adapters.kafka.wire.faults import (
    NOT_AVRO,
    TOO_LARGE,
    WRONG_KEY,
    WRONG_SCHEMA,
    WRONG_SHAPE,
    DecodingError,
)
from dualcast.adapters.kafka.wire.feature_messages import read_feature_rows
from dualcast.adapters.kafka.wire.observation_columns import ObservationRows
from dualcast.adapters.kafka.wire.schema_rules import checked_schema
from dualcast.adapters.kafka.wire.schemas import OtherSubjectError, UnknownSchemaError, schema_cache
from dualcast.adapters.kafka.wire.time_fields import TimeFields, check_micros
from dualcast.arrays import Flags, Texts
from dualcast.features.rows import FeatureRows
from dualcast.observations.columns import Columns
from dualcast.observations.validation import BAD_TIME
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings

__all__ = ["Decoder", "DecodingError", "ObservationMessage", "check_key"]

_MAGIC = 0
_HEADER_BYTES = 5
# What fastavro raises on bytes or schemas that are not valid.
_INVALID = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class ObservationMessage:
    """The observations of one message as columns; times are microseconds since 1970.

    ``record(i)`` is observation i as a record, ``sources()`` and ``simulated()`` are those columns.
    """

    entity_id: str
    columns: Columns
    record: Callable[[int], dict[str, Any]]
    sources: Callable[[], Texts]
    simulated: Callable[[], Flags]


@dataclass(frozen=True, slots=True)
class _Schemas:
    """The schema that a message was written with, and the topic's own where it is another one."""

    writer: Any
    reader: Any | None


class Decoder:
    """Decodes the values of one topic to the schema that this code has for it. Thread-safe.

    All methods raise DecodingError, and UnreachableError where the registry stays unavailable for two minutes.
    """

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._registered = schema_cache(settings.registry)
        self._subject = settings.names.subject(topic)
        self._own = json.loads(schema_text(topic))
        self._times = TimeFields(self._own)
        self._with_datetimes: dict[int, _Schemas] = {}
        self._with_micros: dict[int, _Schemas] = {}

    def record(self, value: bytes | None) -> dict[str, Any]:
        """The record of a message, its times as datetimes in UTC."""
        message, schema_id = _opened(value)
        schemas = self._with_datetimes.get(schema_id)
        if schemas is None:
            schemas = self._with_datetimes[schema_id] = self._parsed(schema_id, lambda schema: schema)
        record = _decoded(message, schemas)
        self._times.check(record)
        return record

    def columns(self, value: bytes | None) -> ObservationMessage:
        """The observations of a message as columns."""
        observed = self._observed(value)
        check_micros(valid_time=observed.columns.valid_time, published_at=observed.columns.published_at)
        return observed

    def feature_rows(self, value: bytes | None) -> FeatureRows:
        """The feature rows of a message."""
        rows = self._rows(value)
        check_micros(valid_time=rows.valid_time, as_of=rows.as_of)
        return rows

    def _observed(self, value: bytes | None) -> ObservationMessage:
        message, schemas = self._for_arrays(value)
        if schemas.reader is None:
            with suppress(OtherLayoutError):
                return _of_rows(ObservationRows.read(message, _HEADER_BYTES), schemas.writer)
        return _of_records(_decoded(message, schemas))

    def _rows(self, value: bytes | None) -> FeatureRows:
        message, schemas = self._for_arrays(value)
        if schemas.reader is None:
            with suppress(OtherLayoutError):
                return read_feature_rows(message, _HEADER_BYTES)
        try:
            return FeatureRows.from_record(_decoded(message, schemas))
        except (OverflowError, ValueError) as error:
            raise error if isinstance(error, DecodingError) else DecodingError(WRONG_SHAPE, str(error)) from error

    def _for_arrays(self, value: bytes | None) -> tuple[bytes, _Schemas]:
        message, schema_id = _opened(value)
        schemas = self._with_micros.get(schema_id)
        if schemas is None:
            schemas = self._with_micros[schema_id] = self._parsed(schema_id, _without_logical_types)
        return message, schemas

    def _parsed(self, schema_id: int, form: Callable[[Any], Any]) -> _Schemas:
        """The schemas to read messages of an id with, in a form. Raises DecodingError, UnreachableError."""
        try:
            own, writer = form(self._own), form(checked_schema(self._registered.text(schema_id, self._subject)))
            return _Schemas(fastavro.parse_schema(writer), None if writer == own else fastavro.parse_schema(own))
        except UnknownSchemaError as error:
            raise DecodingError(NOT_AVRO, str(error)) from error
        except OtherSubjectError as error:
            raise DecodingError(WRONG_SCHEMA, str(error)) from error
        except (SchemaParseException, *_INVALID) as error:
            raise DecodingError(NOT_AVRO, f"schema {schema_id} is not valid: {error}") from error


def check_key(key: bytes | None, entity_id: str) -> None:
    """Raise DecodingError unless a message's key names the entity of its record."""
    if key != entity_id.encode():
        raise DecodingError(WRONG_KEY, f"the record belongs to {entity_id!r}")


def _opened(value: bytes | None) -> tuple[bytes, int]:
    """A message whose header was checked, and the id of its schema. Raises DecodingError."""
    if value is None or len(value) < _HEADER_BYTES or value[0] != _MAGIC:
        raise DecodingError(NOT_AVRO, "no Confluent header")
    if len(value) > MAX_MESSAGE_BYTES:
        raise DecodingError(TOO_LARGE, f"{len(value)} bytes, of at most {MAX_MESSAGE_BYTES}")
    return value, int.from_bytes(value[1:_HEADER_BYTES], "big")


def _without_logical_types(schema: Any) -> Any:
    """A schema that reads times as the integers of the wire format, and makes no datetimes."""
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k not in ("logicalType", "doc")}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _decoded(value: bytes, schemas: _Schemas) -> dict[str, Any]:
    """The record of a whole message by the Avro library. Raises DecodingError."""
    stream = io.BytesIO(value)
    stream.seek(_HEADER_BYTES)
    try:
        record = fastavro.schemaless_reader(stream, schemas.writer, schemas.reader)
    except SchemaResolutionError as error:
        raise DecodingError(WRONG_SCHEMA, str(error)) from error
    except OverflowError as error:
        raise DecodingError(BAD_TIME, str(error)) from error
    except _INVALID as error:
        raise DecodingError(NOT_AVRO, f"{type(error).__name__}: {error}") from error
    if stream.tell() != len(value):
        raise DecodingError(NOT_AVRO, f"{len(value) - stream.tell()} bytes are left over")
    if not isinstance(record, dict):
        raise DecodingError(WRONG_SCHEMA, "the schema is not that of a record")
    return record


def _of_rows(rows: ObservationRows, batch_schema: Any) -> ObservationMessage:
    (items,) = (field["type"]["items"] for field in batch_schema["fields"] if field["name"] == "observations")

    def record(i: int) -> dict[str, Any]:
        found: Any = fastavro.schemaless_reader(io.BytesIO(rows.encoded(i)), items, None)
        return dict(found)

    return ObservationMessage(rows.entity_id, rows.columns, record, lambda: rows.sources, lambda: rows.simulated)


def _of_records(batch: dict[str, Any]) -> ObservationMessage:
    """Raises DecodingError where a time does not fit into 64 bits."""
    records = batch["observations"]
    try:
        columns = Columns.from_records(records)
    except OverflowError as error:
        raise DecodingError(BAD_TIME, str(error)) from error
    return ObservationMessage(
        batch["entity_id"],
        columns,
        records.__getitem__,
        lambda: np.array([r["source"] for r in records], dtype=object),
        lambda: np.array([r["simulated"] for r in records], dtype=bool),
    )
