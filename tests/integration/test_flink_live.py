"""The Flink job on live values: traces are passed on, and a timer makes the row of a missing value."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import Entity, UseCase
from dualcast.records import FeatureRow, Observation, ObservationBatch, Topic
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from tests.feature_job import feature_job, publish
from tests.histories import history
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry", "redis")

END = datetime(2024, 6, 11, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
# a quarter of an hour takes 32 seconds: the job sets no timers if a slot takes less than 30
SPEED = 28
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def online(stack: Settings, use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> OnlineFeatures:
    """The online store of a stack whose replay clock starts now at the end of the history, with state on disk."""
    monkeypatch.setenv("DUALCAST_FLINK_STATE", "rocksdb")
    clock = Clock(start=END, epoch=datetime.now(UTC), speed=SPEED)
    monkeypatch.setenv("DUALCAST_CLOCK", clock.model_dump_json(exclude_none=True))
    return OnlineFeatures(stack, use_case.use_case)


def test_a_missing_value_makes_a_timer_row_and_its_late_value_replaces_it(
    stack: Settings, use_case: UseCase, entity: Entity, online: OnlineFeatures, tmp_path: Path
) -> None:
    publish(stack, entity.id, history(use_case, entity, "2024-06-01", 10), 500)
    with feature_job(use_case.use_case, tmp_path / "job.log"):
        assert wait_for_row(online, entity, END).features["load_newest"][0] > 0
        silent = wait_for_row(online, entity, END + QUARTER)
        assert np.isnan(silent.features["load_newest"]).all()
        assert silent.as_of == silent.valid_time - timedelta(microseconds=1)
        send(stack, entity, Observation("load", END, "PT15M", 51234.5, "MW", END + QUARTER, "meter", True))
        back = 1 + round((silent.valid_time - END - QUARTER) / QUARTER)
        assert back <= 4, "the machine was too slow for this test"
        name = "load_newest" if back == 1 else f"load_back_{back}"
        until(lambda: newest_row(online, entity).features[name] == [51234.5], 30, every=0.05)
        headers = wait_for_headers(stack)
    assert headers["traceparent"] == TRACEPARENT
    assert headers["ce_type"] == b"dualcast.features.intraday.v1"


def wait_for_row(online: OnlineFeatures, entity: Entity, valid_time: datetime) -> FeatureRow:
    """Wait for a row with this valid_time or a later one, and return it."""
    seen: list[FeatureRow] = []

    def is_seen() -> bool:
        row = online.read([entity.id])[entity.id]
        seen.extend([row] if row is not None and row.valid_time >= valid_time else [])
        return bool(seen)

    until(is_seen, 240, every=0.05)
    return seen[0]


def newest_row(online: OnlineFeatures, entity: Entity) -> FeatureRow:
    row = online.read([entity.id])[entity.id]
    assert row is not None
    return row


def send(settings: Settings, entity: Entity, observation: Observation) -> None:
    """Publish an observation with a trace header."""
    with closing(Encoder(settings, Topic.OBSERVATIONS)) as codec:
        value = codec.encode(ObservationBatch(entity.id, [observation]))
    producer = Producer({"bootstrap.servers": settings.kafka})
    producer.produce(settings.names.topic(Topic.OBSERVATIONS), value, entity.id, headers=[("traceparent", TRACEPARENT)])
    assert producer.flush(30) == 0


def wait_for_headers(settings: Settings) -> dict[str, bytes]:
    """Wait for the first feature row with a trace, and return its headers."""
    deadline = time.monotonic() + 60
    with GroupConsumer(
        settings, Topic.FEATURES_INTRADAY, Decoder.record, group="test-live", from_beginning=True, uncommitted=True
    ) as consumer:
        while time.monotonic() < deadline:
            for message, _ in consumer.poll(1.0):
                headers = dict(message.headers() or [])
                if headers.get("traceparent"):
                    return headers
    raise AssertionError("no feature row has a trace")
