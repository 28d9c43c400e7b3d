"""Killed servers restart without manual work, within seconds, with all acknowledged data."""

from __future__ import annotations

import os
import signal
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from dualcast.settings import Settings
from infra.local.state import Phase, StateDir
from tests.waiting import until

pytestmark = pytest.mark.stack(own=True)

RECOVERY_SECONDS = 30.0
TOPIC = "recovery.test"


def kill(state: StateDir, component: str) -> int:
    pid = state.live_status().components[component].pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    return pid


def is_back(state: StateDir, component: str, killed: int) -> bool:
    status = state.live_status().components[component]
    return status.phase == Phase.HEALTHY and status.pid != killed


def produce(producer: Producer, first: int, last: int) -> list[int]:
    """Send numbers and return those that were acknowledged."""
    acknowledged: list[int] = []

    def delivered(error: object, message: object) -> None:
        assert error is None, error
        acknowledged.append(int(message.value()))  # type: ignore[attr-defined]

    for number in range(first, last):
        producer.produce(TOPIC, str(number), on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(60) == 0
    return acknowledged


def consume(settings: Settings, count: int) -> list[int]:
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "recovery", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[int] = []
        deadline = time.monotonic() + 30
        while len(found) < count and time.monotonic() < deadline:
            found += [int(m.value() or b"") for m in consumer.consume(count, 1.0) if m.error() is None]
        extra = [m for m in consumer.consume(1, 1.0) if m.error() is None]
        assert extra == []
        return found
    finally:
        consumer.close()


def test_a_killed_broker_keeps_all_acknowledged_messages(stack: Settings) -> None:
    state = StateDir(stack.state_dir)
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(timeout=30)
    producer = Producer({"bootstrap.servers": stack.kafka, "enable.idempotence": True})
    before = produce(producer, 0, 1000)

    killed = kill(state, "kafka")
    started = time.monotonic()
    after = produce(producer, 1000, 2000)  # the client waits until the broker is available again
    until(lambda: is_back(state, "kafka", killed), RECOVERY_SECONDS)

    assert time.monotonic() - started < RECOVERY_SECONDS
    assert before + after == list(range(2000))
    assert consume(stack, 2000) == list(range(2000))


def test_a_killed_registry_keeps_its_schemas_and_ids(stack: Settings) -> None:
    state = StateDir(stack.state_dir)
    schema = Schema('{"type": "record", "name": "Thing", "fields": [{"name": "size", "type": "int"}]}', "AVRO")
    with SchemaRegistryClient({"url": stack.registry}) as client:
        number = client.register_schema("thing-value", schema)

    killed = kill(state, "registry")
    until(lambda: is_back(state, "registry", killed), RECOVERY_SECONDS)

    with SchemaRegistryClient({"url": stack.registry}) as client:
        assert '"Thing"' in str(client.get_schema(number).schema_str)


@pytest.mark.parametrize("component", ["redis", "mlflow"])
def test_killed_components_restart_at_the_same_address(stack: Settings, component: str) -> None:
    state = StateDir(stack.state_dir)
    address = state.live_status().components[component].address
    killed = kill(state, component)
    until(lambda: is_back(state, component, killed), RECOVERY_SECONDS)
    assert state.live_status().components[component].address == address
