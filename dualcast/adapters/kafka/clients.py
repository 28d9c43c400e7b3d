"""Kafka and the schema registry: topics, codecs, a producer that knows what it lost, a consumer with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, Protocol, Self
from uuid import uuid4

import httpx2
import stamina
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from dualcast.records import DeadLetter, Topic, schema_text
from dualcast.settings import Settings

_TIMEOUT_SECONDS = 30.0
_REGISTRY_SECONDS = 120.0
# After so long the broker gives the place of a consumer that was killed to the one that was started for it.
_SESSION_MILLISECONDS = 10_000
_KNOCKING_MILLISECONDS = 500
_PARTITIONS = 4
_MAX_MESSAGE_BYTES = 8 * 2**20
# What was observed and forecast is the history that models learn from: it is kept.
_TOPIC_CONFIG = {"retention.ms": "-1", "max.message.bytes": str(_MAX_MESSAGE_BYTES)}
_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


class Record(Protocol):
    """Anything that knows how it looks in Avro."""

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it."""


class DeliveryError(RuntimeError):
    """Messages were not acknowledged by the broker in time: ``waiting`` still may be, ``failed`` never will."""

    def __init__(self, waiting: int, failed: list[str]) -> None:
        super().__init__(f"{waiting} messages still waiting, {len(failed)} failed: {failed[:3]}")
        self.waiting = waiting
        self.failed = failed


def connection(settings: Settings) -> dict[str, Any]:
    """What every client of the broker is told.

    While the broker is away a client knocks, and logs it, as often as the shortest backoff allows: librdkafka forgets
    longer ones when it begins again with the bootstrap servers. By default that is twenty times a second.
    """
    return {"bootstrap.servers": settings.kafka, "reconnect.backoff.ms": _KNOCKING_MILLISECONDS}


def create_topics(settings: Settings, timeout: float = _TIMEOUT_SECONDS) -> None:
    """Create the platform's topics where they are missing, and register their schemas as BACKWARD compatible."""
    admin = AdminClient(connection(settings))
    known = admin.list_topics(timeout=timeout).topics
    missing = [NewTopic(t.value, num_partitions=_PARTITIONS, config=_TOPIC_CONFIG) for t in Topic if t not in known]
    for name, outcome in admin.create_topics(missing).items() if missing else ():
        try:
            outcome.result(timeout=timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            _log.debug("topic exists", topic=name)
    _register_schemas(settings)


def _register_schemas(settings: Settings) -> None:
    with closing(_registry(settings)) as registry:
        for topic in Topic:
            subject = f"{topic.value}-value"
            registry.register_schema(subject, Schema(schema_text(topic), "AVRO"))
            registry.set_compatibility(subject, "BACKWARD")


def _registry(settings: Settings) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": settings.registry, "timeout": _TIMEOUT_SECONDS})


_DECODING_FAULTS = (
    httpx2.TransportError,
    SerializationError,
    SchemaRegistryError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
)


def _registry_is_away(error: Exception) -> bool:
    """Whether the registry could not answer, rather than said no."""
    if isinstance(error, SchemaRegistryError):
        return int(error.http_status_code) >= 500
    return isinstance(error, httpx2.TransportError)


class Codec:
    """Avro in the Confluent wire format, for one topic."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._client = _registry(settings)
        self._context = SerializationContext(topic.value, MessageField.VALUE)
        self._serializer = AvroSerializer(self._client, schema_text(topic))
        self._deserializer = AvroDeserializer(self._client)

    def encode(self, record: Record) -> bytes:
        """The bytes of a record; registers the schema at the first call."""
        encoded = self._serializer(record.to_record(), self._context)
        assert isinstance(encoded, bytes)
        return encoded

    def decode(self, value: bytes) -> dict[str, Any]:
        """The record behind the bytes. Raises ValueError where they are not Avro of a registered schema.

        A registry that is away is waited for, up to two minutes and then with ConnectionError: no message is called
        undecodable because of it.
        """
        try:
            for attempt in stamina.retry_context(on=_registry_is_away, attempts=None, timeout=_REGISTRY_SECONDS):
                with attempt:
                    decoded = self._deserializer(value, self._context)
        except _DECODING_FAULTS as error:
            if _registry_is_away(error):
                raise ConnectionError(f"the schema registry is away: {error}") from error
            raise ValueError(f"not Avro of a registered schema: {error}") from error
        if not isinstance(decoded, dict):
            raise ValueError("not an Avro record")  # noqa: TRY004 -- the sender is at fault, as above
        return decoded

    def close(self) -> None:
        """Let go of the registry."""
        self._client.close()


class RecordProducer:
    """Sends records, and knows whether every one of them arrived."""

    def __init__(self, settings: Settings, source: str) -> None:
        self._settings = settings
        self._source = source
        self._codecs: dict[Topic, Codec] = {}
        self._failed: list[str] = []
        self._producer = Producer(
            {
                **connection(settings),
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 200000,
            }
        )

    def send(self, topic: Topic, key: str, record: Record, at: datetime) -> None:
        """Queue one record; ``at`` is the CloudEvents time. Blocks while the queue is full."""
        if topic not in self._codecs:
            self._codecs[topic] = Codec(self._settings, topic)
        value = self._codecs[topic].encode(record)
        self.send_raw(topic, key.encode(), value, at)

    def send_raw(
        self, topic: Topic, key: bytes | None, value: bytes, at: datetime, more: Mapping[str, str] | None = None
    ) -> None:
        """Queue what is encoded already, with ``more`` headers; else as ``send``."""
        with _tracer.start_as_current_span(f"{topic} publish", kind=SpanKind.PRODUCER):
            headers = self._headers(topic, at) + [(name, text.encode()) for name, text in (more or {}).items()]
        while True:
            try:
                self._producer.produce(topic.value, value, key, headers=headers, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Wait until all that was sent has arrived. Raises DeliveryError where it has not."""
        waiting = self._producer.flush(timeout)
        if waiting or self._failed:
            failed, self._failed = self._failed, []
            raise DeliveryError(waiting, failed)

    def close(self) -> None:
        """Wait for what was sent, then let go of the broker and the registry. Raises as ``flush`` does."""
        try:
            self.flush()
        finally:
            for codec in self._codecs.values():
                codec.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _headers(self, topic: Topic, at: datetime) -> list[tuple[str, str | bytes | None]]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        event = {
            "ce_specversion": "1.0",
            "ce_type": f"dualcast.{topic.value}",
            "ce_source": self._source,
            "ce_id": str(uuid4()),
            "ce_time": at.isoformat(),
            "content-type": "application/avro",
        }
        return [(name, text.encode()) for name, text in (event | carrier).items()]

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error}")


class RecordConsumer:
    """Reads one topic as decoded records; what cannot be decoded goes to ``on_fault`` and the stream goes on.

    ``uncommitted`` also reads what belongs to a transaction still open, for those who recognise what comes twice.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        *,
        group: str,
        from_beginning: bool,
        on_fault: Callable[[Message, str], None] | None = None,
        uncommitted: bool = False,
    ) -> None:
        self._codec = Codec(settings, topic)
        self._on_fault = on_fault
        self._consumer = Consumer(
            {
                **connection(settings),
                "group.id": group,
                "auto.offset.reset": "earliest" if from_beginning else "latest",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted" if uncommitted else "read_committed",
                "session.timeout.ms": _SESSION_MILLISECONDS,
            }
        )
        self._consumer.subscribe([topic.value])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group and let go of the broker and the registry."""
        self._consumer.close()
        self._codec.close()

    def poll(self, timeout: float, most: int = 500) -> list[tuple[Message, dict[str, Any]]]:
        """At most ``most`` messages that came within ``timeout`` seconds, with their records."""
        return list(self._decoded(self._consumer.consume(most, timeout)))

    def commit(self) -> None:
        """Remember what was read, so that the next consumer of the group goes on behind it."""
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def _decoded(self, messages: list[Message]) -> Iterator[tuple[Message, dict[str, Any]]]:
        for message in messages:
            if message.error() is not None:
                _log.warning("kafka", error=str(message.error()))
                continue
            try:
                yield message, self._codec.decode(message.value() or b"")
            except ValueError as error:
                _log.warning("undecodable message", topic=message.topic(), offset=message.offset(), error=str(error))
                if self._on_fault is not None:
                    self._on_fault(message, str(error))


def dead_letter(message: Message, reason: str, detail: str, component: str, at: datetime) -> DeadLetter:
    """What is kept of a message that could not be used."""
    return DeadLetter(
        reason,
        detail[:2000],
        component,
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        at,
        message.key(),
        message.value(),
    )
