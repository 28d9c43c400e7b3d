"""Avro messages in Spark's workers: what is decoded, what is a fault, and feature rows in bulk."""

from __future__ import annotations

import io
import json
import math
import struct
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from fastavro import parse_schema, schemaless_writer

from batch.engine import avro
from batch.engine.avro import Reader, UndecodableError
from batch.feature_messages import feature_rows, heading
from dualcast.records import FeatureRow, Topic, schema_text

WIDTHS = {"level": 1, "ahead": 3}
SCHEMA = json.loads(schema_text(Topic.FEATURES_INTRADAY))


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader whose registry knows schema 1, the platform's, and schema 2, which has one field more."""
    wider = {**SCHEMA, "fields": [{"name": "note", "type": "string"}, *SCHEMA["fields"]]}
    known = {1: SCHEMA, 2: wider}

    def registered(_: str, schema_id: int) -> object:
        if schema_id not in known:
            raise UndecodableError(f"the registry has no schema {schema_id}")
        return parse_schema(avro._plain(known[schema_id]))

    monkeypatch.setattr(avro, "_registered", registered)
    return Reader("http://nowhere", Topic.FEATURES_INTRADAY)


def row(minute: int, **features: list[float]) -> FeatureRow:
    at = datetime(2022, 3, 1, tzinfo=UTC) + timedelta(minutes=minute)
    cells = features or {"level": [float(minute)], "ahead": [1.0, math.nan, float(-minute)]}
    return FeatureRow("de_load", "DE", at, at, "abc", cells)


def message(record: dict[str, object], schema_id: int = 1) -> bytes:
    schema = SCHEMA if schema_id == 1 else {**SCHEMA, "fields": [{"name": "note", "type": "string"}, *SCHEMA["fields"]]}
    out = io.BytesIO(struct.pack(">bI", 0, schema_id))
    out.seek(0, io.SEEK_END)
    schemaless_writer(out, parse_schema(schema), record)
    return out.getvalue()


def test_bulk_rows_are_those_of_the_avro_library(source: Reader) -> None:
    records = [row(m) for m in (0, 15, 30)]
    found = feature_rows(source, [message(r.to_record()) for r in records], WIDTHS)
    for name in WIDTHS:
        np.testing.assert_array_equal(found.features[name], [r.features[name] for r in records])
    assert found.column("valid_time", pa.timestamp("us", "UTC")).to_pylist() == [r.valid_time for r in records]
    assert found.column("ahead", pa.list_(pa.float64())).to_pylist()[2][2] == -30.0


def test_rows_laid_out_otherwise_are_decoded_too_and_bad_ones_left_out(source: Reader) -> None:
    swapped = {"ahead": [7.0, 8.0, 9.0], "level": [6.0]}
    messages = [
        message(row(0).to_record()),
        message(row(15, **swapped).to_record()),
        message({"note": "wider", **row(30).to_record()}, schema_id=2),
        message(row(45, level=[1.0], ahead=[1.0, 2.0]).to_record()),
        message(row(60).to_record())[:-9],
        message(row(75).to_record()),
    ]
    found = feature_rows(source, messages, WIDTHS)
    assert [h.valid_time // 60_000_000 % 60 for h in found.headings] == [0, 15, 30, 15]
    np.testing.assert_array_equal(found.features["level"][:, 0], [0.0, 6.0, 30.0, 75.0])
    np.testing.assert_array_equal(found.features["ahead"][1], [7.0, 8.0, 9.0])


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
    with pytest.raises(UndecodableError):
        heading(source, value)


def test_bytes_left_over_and_another_key_are_faults(source: Reader) -> None:
    sound = message(row(0).to_record())
    assert source.keyed_record(b"DE", sound)["entity_id"] == "DE"
    with pytest.raises(UndecodableError, match="left over"):
        source.record(sound + b"x")
    with pytest.raises(UndecodableError) as fault:
        source.keyed_record(b"FR", sound)
    assert fault.value.reason == "wrong_key"
