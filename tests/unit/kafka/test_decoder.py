"""The decoder: for any bytes the result is a record, columns, rows or a DecodingError."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dualcast.adapters.kafka.connection import UnreachableError
from dualcast.adapters.kafka.wire import schemas
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError, check_key
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import DeadLetter, FeatureRow, Observation, ObservationBatch, Topic, schema_text
from dualcast.settings import Settings
from dualcast.timegrid import micros
from tests.registry import MemoryRegistry

NOW = datetime(2022, 3, 27, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
DECODED: dict[str, Callable[[Decoder, bytes | None], Any]] = {
    "record": Decoder.record,
    "columns": Decoder.columns,
    "feature_rows": Decoder.feature_rows,
}


class Raw:
    """A record as a dictionary."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def to_record(self) -> dict[str, Any]:
        return self.record


def batch(count: int = 1, **changes: Any) -> ObservationBatch:
    first = replace(Observation("load", NOW, "PT15M", 1.5, "MW", NOW, "test", True), **changes)
    return ObservationBatch("XX", [replace(first, valid_time=first.valid_time + i * QUARTER) for i in range(count)])


def encoded(record: Any, topic: Topic = Topic.OBSERVATIONS) -> bytes:
    return Encoder(Settings(), topic).encode(record)


def row(minute: int = 0) -> FeatureRow:
    at = NOW + timedelta(minutes=minute)
    return FeatureRow("de_load", "DE", at, at, "abc", {"level": [1.0], "ahead": [1.0, math.nan, float(-minute)]})


def written_with(registry: MemoryRegistry, subject: str, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """A message of a schema that is registered under a subject."""
    schema_id = registry.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
    head = struct.pack(">bI", 0, schema_id)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return head + out.getvalue()


@pytest.mark.parametrize("count", [0, 1, 500])
def test_record_and_columns_equal_the_encoded_observations(registry: MemoryRegistry, count: int) -> None:
    decoder, message = Decoder(Settings(), Topic.OBSERVATIONS), encoded(sent := batch(count))
    assert ObservationBatch.from_record(decoder.record(message)) == sent
    observed = decoder.columns(message)
    columns = observed.columns
    assert observed.entity_id == "XX"
    assert columns.valid_time.tolist() == [micros(o.valid_time) for o in sent.observations]
    assert columns.published_at.tolist() == [micros(o.published_at) for o in sent.observations]
    for name in ("variable", "resolution", "value", "unit"):
        assert getattr(columns, name).tolist() == [getattr(o, name) for o in sent.observations]
    assert observed.sources().tolist() == [o.source for o in sent.observations]
    assert observed.simulated().tolist() == [o.simulated for o in sent.observations]
    assert registry.requested == [1]


def test_columns_decoded_by_the_avro_library_are_the_same(registry: MemoryRegistry) -> None:
    decoder = Decoder(Settings(), Topic.OBSERVATIONS)
    usual, long_source = decoder.columns(encoded(batch(50))), decoder.columns(encoded(batch(50, source="x" * 80)))
    for name in ("variable", "valid_time", "resolution", "value", "unit", "published_at"):
        np.testing.assert_array_equal(getattr(usual.columns, name), getattr(long_source.columns, name), err_msg=name)
    assert long_source.sources().tolist() == ["x" * 80] * 50
    assert usual.simulated().tolist() == long_source.simulated().tolist()
    assert usual.record(7) | {"source": ""} == long_source.record(7) | {"source": ""}
    assert registry.requested == [1]


def test_feature_rows_of_an_older_schema_are_read(registry: MemoryRegistry) -> None:
    own = json.loads(schema_text(Topic.FEATURES_INTRADAY))
    fields = [{"name": "note", "type": "string"}, *(f for f in own["fields"] if "default" not in f)]
    record = {"note": "old", **row(30).to_record()}
    message = written_with(registry, "features.intraday.v1-value", {**own, "fields": fields}, record)
    found = Decoder(Settings(), Topic.FEATURES_INTRADAY).feature_rows(message)
    np.testing.assert_equal([r.to_record() for r in found.one_by_one()], [row(30).to_record()])


@pytest.mark.parametrize("how", DECODED)
@pytest.mark.parametrize(
    "value",
    [None, b"", b"\x00\x00", b"\x07\x00\x00\x00\x01abc", struct.pack(">bI", 0, 99) + b"abc"],
    ids=["none", "empty", "short", "no header", "unknown schema"],
)
def test_bytes_that_are_not_avro_of_a_registered_schema_are_refused(
    registry: MemoryRegistry, value: bytes | None, how: str
) -> None:
    with pytest.raises(DecodingError) as fault:
        DECODED[how](Decoder(Settings(), Topic.OBSERVATIONS), value)
    assert fault.value.reason == "not_avro"
    assert len(registry.requested) <= 1


@pytest.mark.parametrize(
    ("topic", "how", "record"),
    [
        (Topic.OBSERVATIONS, "record", batch()),
        (Topic.OBSERVATIONS, "columns", batch()),
        (Topic.FEATURES_INTRADAY, "record", row()),
        (Topic.FEATURES_INTRADAY, "feature_rows", row()),
    ],
)
@pytest.mark.usefixtures("registry")
def test_messages_with_missing_or_additional_bytes_are_refused(topic: Topic, how: str, record: Any) -> None:
    decoder, sound = Decoder(Settings(), topic), encoded(record, topic)
    DECODED[how](decoder, sound)
    for spoilt in (sound + b"x", sound[:-1], sound[: len(sound) // 2], sound[:5] + b"\xff" * 40):
        with pytest.raises(DecodingError) as fault:
            DECODED[how](decoder, spoilt)
        assert fault.value.reason == "not_avro"


@pytest.mark.parametrize("how", DECODED)
@pytest.mark.usefixtures("registry")
def test_a_record_of_another_topic_is_refused(how: str) -> None:
    letter = encoded(DeadLetter("none", "", "test", "observations.v1", 0, 0, NOW), Topic.DEAD_LETTERS)
    topic = Topic.FEATURES_INTRADAY if how == "feature_rows" else Topic.OBSERVATIONS
    with pytest.raises(DecodingError) as fault:
        DECODED[how](Decoder(Settings(), topic), letter)
    assert fault.value.reason == "wrong_schema"


@pytest.mark.parametrize("how", ["record", "columns"])
def test_only_schemas_of_the_topics_own_subject_are_used(registry: MemoryRegistry, how: str) -> None:
    own = json.loads(schema_text(Topic.OBSERVATIONS))
    record = batch().to_record()
    DECODED[how](decoder := Decoder(Settings(), Topic.OBSERVATIONS), encoded(batch()))
    foreign = written_with(registry, "another.topic-value", own, record)
    for _ in range(2):
        with pytest.raises(DecodingError) as fault:
            DECODED[how](decoder, foreign)
        assert fault.value.reason == "wrong_schema"
    assert registry.requested == [1, 2]


@pytest.mark.usefixtures("registry")
def test_feature_rows_with_a_wrong_number_of_values_are_refused() -> None:
    record = row().to_record() | {"horizons": 3, "more": [{"valid_time": NOW, "as_of": NOW}] * 4}
    with pytest.raises(DecodingError) as fault:
        Decoder(Settings(), Topic.FEATURES_INTRADAY).feature_rows(encoded(Raw(record), Topic.FEATURES_INTRADAY))
    assert fault.value.reason == "wrong_shape"


@pytest.mark.usefixtures("registry")
def test_feature_rows_with_more_horizons_than_a_use_case_may_have_are_refused() -> None:
    """Few values may stand for many cells: those of 1,000 rows and horizons are 2,000 values and a million cells."""
    count = 1000
    values = {"rise": [0.0] * (2 * count - 1)}
    record = row().to_record() | {"features": values, "horizons": count}
    record |= {"more": [{"valid_time": NOW, "as_of": NOW}] * (count - 1)}
    with pytest.raises(DecodingError) as fault:
        Decoder(Settings(), Topic.FEATURES_INTRADAY).feature_rows(encoded(Raw(record), Topic.FEATURES_INTRADAY))
    assert fault.value.reason == "wrong_shape"


def test_the_key_of_a_message_names_its_entity() -> None:
    check_key(b"DE", "DE")
    for key in (b"FR", b"", None, b"\xff"):
        with pytest.raises(DecodingError) as fault:
            check_key(key, "DE")
        assert fault.value.reason == "wrong_key"


def test_many_messages_with_an_unknown_schema_cause_one_request(registry: MemoryRegistry) -> None:
    message = struct.pack(">bI", 0, 99) + b"abc"

    def refused(_: int) -> str:
        with pytest.raises(DecodingError) as fault:
            Decoder(Settings(), Topic.OBSERVATIONS).columns(message)
        return fault.value.reason

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(refused, range(1000))) == {"not_avro"}
    assert registry.requested == [99]


def test_a_known_schema_is_fetched_once_for_all_decoders(registry: MemoryRegistry) -> None:
    message = encoded(batch())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Decoder(Settings(), Topic.OBSERVATIONS).record(message), range(100)))
    assert registry.requested == [1]


def test_decoding_waits_for_an_unavailable_registry(registry: MemoryRegistry) -> None:
    message = encoded(batch())
    registry.failures = 3
    assert Decoder(Settings(), Topic.OBSERVATIONS).record(message)["entity_id"] == "XX"
    assert registry.requested == [1] * 4


def test_messages_are_not_undecodable_if_the_registry_stays_unavailable(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "_PATIENCE_SECONDS", 0.2)
    registry.failures = 10**6
    decoder, message = Decoder(Settings(), Topic.OBSERVATIONS), encoded(batch())
    with pytest.raises(UnreachableError):
        decoder.record(message)
    registry.failures = 0
    assert decoder.record(message)["entity_id"] == "XX"


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.usefixtures("registry")
def test_arbitrary_bytes_raise_only_decoding_errors(data: st.DataObject) -> None:
    topic, how = data.draw(
        st.sampled_from(
            [
                (Topic.OBSERVATIONS, "record"),
                (Topic.OBSERVATIONS, "columns"),
                (Topic.FEATURES_INTRADAY, "record"),
                (Topic.FEATURES_INTRADAY, "feature_rows"),
            ]
        )
    )
    value = bytearray(encoded(batch(2) if topic is Topic.OBSERVATIONS else row(), topic))
    for _ in range(data.draw(st.integers(1, 6))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodingError):
        DECODED[how](Decoder(Settings(), topic), bytes(value[: data.draw(st.integers(0, len(value)))]))
