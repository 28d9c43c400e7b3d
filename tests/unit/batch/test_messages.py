"""Avro messages in Spark's workers: what is decoded, and what is a fault."""

from __future__ import annotations

import io
import json
import math
import struct
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fastavro import parse_schema, schemaless_writer

from dualcast.adapters.kafka import records as avro
from dualcast.adapters.kafka.records import Reader, UndecodableError
from dualcast.features.rows import FeatureRows
from dualcast.records import FeatureRow, Topic, schema_text

SCHEMA = json.loads(schema_text(Topic.FEATURES_INTRADAY))
OLDER = {
    **SCHEMA,
    "fields": [{"name": "note", "type": "string"}, *(f for f in SCHEMA["fields"] if "default" not in f)],
}


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader whose registry knows schema 1, the platform's, and schema 2, which is older and has a note."""
    known = {1: SCHEMA, 2: OLDER}

    def registered(_: str, schema_id: int) -> object:
        if schema_id not in known:
            raise UndecodableError(f"the registry has no schema {schema_id}")
        return parse_schema(avro._plain(known[schema_id]))

    monkeypatch.setattr(avro, "_registered", registered)
    return Reader("http://nowhere", Topic.FEATURES_INTRADAY)


def row(minute: int) -> FeatureRow:
    at = datetime(2022, 3, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return FeatureRow("de_load", "DE", at, at, "abc", {"level": [1.0], "ahead": [1.0, math.nan, float(-minute)]})


def message(record: dict[str, object], schema_id: int = 1) -> bytes:
    schema = SCHEMA if schema_id == 1 else OLDER
    out = io.BytesIO(struct.pack(">bI", 0, schema_id))
    out.seek(0, io.SEEK_END)
    schemaless_writer(out, parse_schema(schema), record)
    return out.getvalue()


def test_a_row_written_before_messages_held_many_is_read_as_ever(source: Reader) -> None:
    found = FeatureRows.from_record(source.record(message({"note": "of old", **row(30).to_record()}, schema_id=2)))
    np.testing.assert_equal([r.to_record() for r in found.one_by_one()], [row(30).to_record()])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\x00",
        b"\x07\x00\x00\x00\x01abc",
        struct.pack(">bI", 0, 99) + b"abc",
        struct.pack(">bI", 0, 1) + b"\xff",
    ],
    ids=["empty", "short", "no header", "unknown schema", "cut short"],
)
def test_what_is_no_avro_is_a_fault(source: Reader, value: bytes) -> None:
    with pytest.raises(UndecodableError):
        source.record(value)


def test_bytes_left_over_and_another_key_are_faults(source: Reader) -> None:
    sound = message(row(0).to_record())
    assert source.keyed_record(b"DE", sound)["entity_id"] == "DE"
    with pytest.raises(UndecodableError, match="left over"):
        source.record(sound + b"x")
    with pytest.raises(UndecodableError) as fault:
        source.keyed_record(b"FR", sound)
    assert fault.value.reason == "wrong_key"
