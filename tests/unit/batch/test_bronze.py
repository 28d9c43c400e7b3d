"""Kafka rows become Bronze rows, as arrays; undecodable messages become dead letters."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from batch.lake import bronze
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import DeadLetter, Observation, ObservationBatch, Topic
from dualcast.settings import Settings
from tests.registry import memory_registry

NOW = datetime(2022, 3, 27, 1, tzinfo=UTC)
SENT = [
    Observation("load", NOW + i * timedelta(minutes=15), "PT15M", i * 1.5, "MW", NOW, "test", i % 2 == 0)
    for i in range(300)
]


class Sum:
    value = 0

    def add(self, more: int) -> None:
        self.value += more


class Producer:
    """A fake producer that keeps dead letters."""

    def __init__(self, _settings: Settings, _source: str) -> None:
        self.sent.clear()

    sent: list[tuple[str, DeadLetter]] = []  # noqa: RUF012 -- shared with the test

    def send(self, _topic: Topic, key: str, record: DeadLetter, _at: datetime) -> None:
        self.sent.append((key, record))

    def close(self) -> None: ...


def test_messages_become_rows_or_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bronze, "RecordProducer", Producer)
    settings = Settings(namespace="staging")
    with memory_registry(monkeypatch):
        encoder = Encoder(settings, Topic.OBSERVATIONS)
        one, many = (encoder.encode(ObservationBatch("DE", part)) for part in (SENT[:1], SENT[1:]))
        messages = [(b"DE", one), (b"FR", one), (b"DE", b"junk"), (None, None), (b"DE", many)]
        rows = [
            {"key": key, "value": value, "topic": "staging.observations.v1", "partition": 1, "offset": i}
            for i, (key, value) in enumerate(messages)
        ]
        counts = SimpleNamespace(observations=Sum(), undecodable=Sum())
        decode = bronze._Decoding(settings, NOW, cast("Any", counts.observations), cast("Any", counts.undecodable))
        table = pa.Table.from_batches(decode(iter([pa.RecordBatch.from_pylist(rows)])))
    assert (counts.observations.value, counts.undecodable.value) == (300, 3)
    fields = list(asdict(SENT[0]))
    assert table.select(fields).to_pylist() == [asdict(o) for o in SENT]
    assert set(table["entity_id"].to_pylist()) == {"DE"}
    assert list(zip(table["offset"].to_pylist(), table["position"].to_pylist(), strict=True))[:3] == [
        (0, 0),
        (4, 0),
        (4, 1),
    ]
    assert [(key, letter.reason, letter.topic, letter.offset) for key, letter in Producer.sent] == [
        ("FR", "wrong_key", "observations.v1", 1),
        ("DE", "not_avro", "observations.v1", 2),
        ("", "not_avro", "observations.v1", 3),
    ]
