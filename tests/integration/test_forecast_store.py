"""Reading curves from a real broker, and publishing them once through the adapters of id-svc."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pytest
from confluent_kafka import Producer

from dualcast.adapters.kafka.connection import UnreachableError
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import TopicReader, published, published_forecasts
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from services.id_svc.adapters import KafkaArrivals, KafkaOutbox
from services.id_svc.ports import Arrival
from tests import services_world as world
from tests.feature_job import written
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry")
DAYS = [date(2022, 5, 3) + timedelta(days=i) for i in range(3)]


@pytest.fixture(scope="module")
def curves(stack: Settings) -> Settings:
    """Three day-ahead curves, with a message between them that is not Avro."""
    with RecordProducer(stack, "test") as producer:
        for i, day in enumerate(DAYS):
            forecast = world.day_ahead(day)
            producer.send(Topic.FORECASTS_DAY_AHEAD, "DE", forecast, forecast.issued_at)
            producer.flush()
            if i == 0:
                raw = Producer({"bootstrap.servers": stack.kafka})
                raw.produce(stack.names.topic(Topic.FORECASTS_DAY_AHEAD), b"garbage", b"DE")
                assert raw.flush(10) == 0
    return stack


def test_all_curves_are_read_and_undecodable_messages_are_skipped(curves: Settings) -> None:
    assert list(published_forecasts(curves, Topic.FORECASTS_DAY_AHEAD)) == [world.day_ahead(day) for day in DAYS]


def test_a_tail_begins_near_the_end(curves: Settings) -> None:
    assert list(published_forecasts(curves, Topic.FORECASTS_DAY_AHEAD, tail=1)) == [world.day_ahead(DAYS[-1])]


def test_a_reopened_reader_continues_at_its_position(curves: Settings) -> None:
    reader = TopicReader(curves, Topic.FORECASTS_DAY_AHEAD, Decoder.record)
    with reader:
        first = next(found for _ in range(100) if (found := reader.poll(1.0, most=1)))
    with reader:
        rest = [record for _ in range(20) for record in reader.poll(0.2)]
        assert reader.caught_up
    assert [record["issued_at"] for record in first + rest] == [world.day_ahead(day).issued_at for day in DAYS]
    assert reader.undecodable == 1


def test_an_empty_topic_is_at_its_end(stack: Settings) -> None:
    assert list(published(stack, Topic.DEAD_LETTERS)) == []


@contextmanager
def _constant_writes(settings: Settings, topic: Topic) -> Iterator[None]:
    """Write a hundred messages a second to a topic during the test."""
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 0})
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.01):
            producer.produce(settings.names.topic(topic), b"nothing", b"nobody")
            producer.poll(0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()
        assert producer.flush(10) == 0


def test_a_reader_catches_up_while_the_topic_is_written_to(stack: Settings) -> None:
    reader = TopicReader(stack, Topic.OBSERVATIONS, Decoder.record, keys=[b"somebody"])
    with _constant_writes(stack, Topic.OBSERVATIONS):
        until(lambda: written(stack, Topic.OBSERVATIONS) > 0, 10)
        with reader:
            for _ in range(20):
                reader.poll(0.25)
            assert reader.caught_up


def test_an_unavailable_broker_raises_unreachable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dualcast.adapters.kafka.readers._TIMEOUT_SECONDS", 1.0)
    nowhere = world.settings(world.frozen(), kafka="127.0.0.1:1")
    with pytest.raises(UnreachableError):
        list(published(nowhere, Topic.OBSERVATIONS))


def received_rows(arrivals: KafkaArrivals, count: int, seconds: float) -> list[Arrival]:
    """The rows received until there are ``count``, or until ``seconds`` have passed."""
    found: list[Arrival] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += arrivals.poll(0.1, world.NOW)
    return found


def test_rows_are_delivered_until_committed_and_the_newest_published_curve_is_found(
    stack: Settings,
) -> None:
    rows = [FeatureRow("de_load", "DE", t, t, "abc", {"load": [1.0]}) for t in (world.NOW, world.NOW)]
    with RecordProducer(stack, "test") as producer:
        for row in rows:
            producer.send(Topic.FEATURES_INTRADAY, "DE", row, row.as_of)
    outbox, arrivals = KafkaOutbox(stack), KafkaArrivals(stack)
    assert outbox.newest() == {}
    for commit in (False, True):
        with arrivals:
            came = received_rows(arrivals, len(rows), 10.0)
            assert [arrival.row for arrival in came] == rows
            assert came[0].trace["ce_source"] == "test"
            if commit:
                arrivals.commit()
    with arrivals:
        assert received_rows(arrivals, 1, 4.0) == []
    outbox.send(world.intraday(world.NOW))
    outbox.flush()
    outbox.close()
    assert outbox.newest() == {("de_load", "DE"): world.NOW}
