"""Records through a real broker and registry, and messages that cannot be decoded."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stamina
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from rich.console import Console

from dualcast.adapters.kafka.connection import UnreachableError, connection
from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import start_group_near_end
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import Observation, ObservationBatch, Topic, schema_text
from dualcast.settings import Settings, SettingsError
from infra.local import stack as embedded
from infra.local.state import StateDir

pytestmark = pytest.mark.stack("kafka", "registry", own=True)

NOW = datetime(2022, 3, 27, 1, tzinfo=UTC)
BATCH = ObservationBatch("XX", [Observation("load", NOW, "PT15M", 1.5, "MW", NOW, "test", True)])


def send(settings: Settings, source: str = "test") -> None:
    with RecordProducer(settings, source) as producer:
        producer.send(Topic.OBSERVATIONS, "XX", BATCH, NOW)


def encoded(settings: Settings) -> bytes:
    with closing(Encoder(settings, Topic.OBSERVATIONS)) as codec:
        return codec.encode(BATCH)


def read(
    settings: Settings, group: str, count: int
) -> tuple[list[ObservationBatch], list[tuple[Message, DecodingError]]]:
    """Read until ``count`` messages have been received, valid or not."""
    faults: list[tuple[Message, DecodingError]] = []
    records: list[ObservationBatch] = []
    with GroupConsumer(
        settings,
        Topic.OBSERVATIONS,
        Decoder.record,
        group=group,
        from_beginning=True,
        on_fault=lambda message, why: faults.append((message, why)),
    ) as consumer:
        for _ in range(60):
            records += [ObservationBatch.from_record(r) for _, r in consumer.poll(1.0)]
            if len(records) + len(faults) >= count:
                break
        consumer.commit()
    return records, faults


def test_a_message_on_standard_input_becomes_json(stack: Settings) -> None:
    value = encoded(stack)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dualcast")), "decode", Topic.OBSERVATIONS.value],
        input=len(value).to_bytes(4, "big") + value,
        env=os.environ | {"DUALCAST_STATE_DIR": str(stack.state_dir), "DUALCAST_REGISTRY": stack.registry},
        capture_output=True,
        timeout=60,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert (shown["entity_id"], shown["observations"][0]["value"]) == ("XX", 1.5)


def test_records_round_trip_and_bad_bytes_do_not_stop_the_stream(stack: Settings) -> None:
    send(stack)
    raw = Producer({"bootstrap.servers": stack.kafka})
    for junk in (b"", b"junk", b"\x00\x00\x00\xff\xff", encoded(stack)[:-3]):
        raw.produce(stack.names.topic(Topic.OBSERVATIONS), junk, b"XX")
    assert raw.flush(30) == 0
    send(stack)

    records, faults = read(stack, "round-trip", 6)

    assert records == [BATCH, BATCH]
    assert len(faults) == 4
    assert [(message.value(), fault.reason) for message, fault in faults][1] == (b"junk", "not_avro")


def test_clients_of_an_unavailable_broker_reconnect_seldom(stack: Settings, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = connection(stack.model_copy(update={"kafka": "127.0.0.1:1"}))
    consumer = Consumer(nowhere | {"group.id": "nobody"}, logger=logging.getLogger("reconnecting"))
    consumer.subscribe([Topic.OBSERVATIONS.value])
    for _ in range(20):
        consumer.poll(0.1)
    consumer.close()
    assert 0 < sum("refused" in r.getMessage() for r in caplog.records) < 10


def test_headers_carry_cloudevents(stack: Settings) -> None:
    send(stack, "test-source")
    with GroupConsumer(stack, Topic.OBSERVATIONS, Decoder.record, group="headers", from_beginning=True) as consumer:
        messages = (message for _ in range(30) for message, _ in consumer.poll(0.5))
        found = (dict(message.headers() or []) for message in messages)
        headers = next(headers for headers in found if headers["ce_source"] == b"test-source")
    assert headers["ce_type"] == b"dualcast.observations.v1"


def test_creating_topics_twice_does_nothing(stack: Settings) -> None:
    create_topics(stack)


def test_the_registry_refuses_an_incompatible_schema(stack: Settings) -> None:
    encoded(stack)
    broken = schema_text(Topic.OBSERVATIONS).replace(
        '"name": "entity_id", "type": "string"', '"name": "entity_id", "type": "int"'
    )
    with (
        closing(SchemaRegistryClient({"url": stack.registry})) as client,
        pytest.raises(SchemaRegistryError) as error,
    ):
        client.register_schema(f"{stack.names.topic(Topic.OBSERVATIONS)}-value", Schema(broken, "AVRO"))
    assert error.value.http_status_code == 409


def test_messages_are_not_undecodable_while_the_registry_is_unavailable(stack: Settings) -> None:
    send(stack)
    with GroupConsumer(stack, Topic.OBSERVATIONS, Decoder.record, group="unavailable", from_beginning=True) as consumer:
        embedded.stop(StateDir(stack.state_dir), ("registry",))
        with ThreadPoolExecutor(1) as pool:
            records = (ObservationBatch.from_record(record) for _ in range(60) for _, record in consumer.poll(0.5))
            reading = pool.submit(lambda: any(record == BATCH for record in records))
            embedded.start(StateDir(stack.state_dir), ("registry",), console=Console(quiet=True))
            assert reading.result(timeout=60)


def test_a_new_group_begins_near_the_end_of_uncommitted_messages(stack: Settings) -> None:
    topic = Topic.FEATURES_INTRADAY
    name = stack.names.topic(topic)
    reading = {
        "bootstrap.servers": stack.kafka,
        "group.id": stack.names.group("late"),
        "isolation.level": "read_uncommitted",
    }
    producer = Producer({"bootstrap.servers": stack.kafka, "transactional.id": "catching-up"})
    producer.init_transactions(10)
    producer.begin_transaction()
    for _ in range(50):
        producer.produce(name, key=b"XX", value=b"row")
    producer.flush(10)
    for attempt in stamina.retry_context(on=UnreachableError):  # a new broker may still be looking for a coordinator
        with attempt:
            start_group_near_end(stack, topic, "late", tail=5)
    with closing(Consumer(reading)) as consumer:
        found = consumer.list_topics(name, 10).topics[name].partitions
        partitions = [TopicPartition(name, partition) for partition in found]
        ends = sum(consumer.get_watermark_offsets(p, timeout=10)[1] for p in partitions)
        starts = sum(p.offset for p in consumer.committed(partitions, timeout=10))
    producer.abort_transaction(10)
    assert ends - starts == 5


def test_a_broker_of_another_cluster_is_refused_before_anything_is_written(stack: Settings) -> None:
    assert stack.kafka_cluster, "the embedded stack names its cluster"
    other = stack.model_copy(update={"kafka_cluster": "another", "namespace": "other"})
    with pytest.raises(SettingsError, match=f"{stack.kafka_cluster}.*another.*nothing was written"):
        create_topics(other)
    with closing(SchemaRegistryClient({"url": stack.registry})) as registry:
        assert not [subject for subject in registry.get_subjects() if subject.startswith("other")]
