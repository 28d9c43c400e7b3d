"""Offsets of topics and groups, on the mock broker of the Kafka client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from dualcast.adapters.kafka.health import request_metadata
from dualcast.adapters.kafka.offsets import Offsets
from dualcast.settings import Settings

TOPIC, GROUP = "observations.v1", "job"


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A broker with five messages on the first partition of a topic."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    for _ in range(5):
        producer.produce(TOPIC, b"value", partition=0)
    producer.flush(10)
    (broker,) = producer.list_topics(timeout=5).brokers.values()
    yield Settings(kafka=f"{broker.host}:{broker.port}")
    del producer


def commit(settings: Settings, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": GROUP})
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, offset)], asynchronous=False)
    consumer.close()


def test_the_messages_that_a_group_has_read_are_counted(settings: Settings) -> None:
    with Offsets.of_group(settings, GROUP) as offsets:
        ends = offsets.ends(TOPIC)
        assert ends[0] == sum(ends.values()) == 5
        assert offsets.read_before(TOPIC, ends) == 0
        commit(settings, 3)
        assert offsets.read_before(TOPIC, ends) == 3
        assert offsets.read_before(TOPIC, ends | {0: 2}) == 2


def test_a_broker_that_is_unavailable_is_reported(settings: Settings) -> None:
    request_metadata(settings.kafka, 3.0)
    with pytest.raises(ConnectionError):
        request_metadata("127.0.0.1:1", 0.5)
