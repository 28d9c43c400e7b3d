"""Sends records to topics and reports whether the broker acknowledged each of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import uuid4

from confluent_kafka import KafkaError, Message, Producer
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from dualcast.adapters.kafka.connection import TIMEOUT_SECONDS, DeliveryError, connection
from dualcast.adapters.kafka.topics import MAX_MESSAGE_BYTES
from dualcast.adapters.kafka.wire.encoder import Encoder, Record
from dualcast.records import Topic
from dualcast.settings import Settings

_tracer = trace.get_tracer(__name__)


class RecordProducer:
    """Sends records, and knows whether all of them were acknowledged. ``source`` is the CloudEvents source."""

    def __init__(self, settings: Settings, source: str) -> None:
        self._settings = settings
        self._source = source
        self._encoders: dict[Topic, Encoder] = {}
        self._failed: list[str] = []
        self._producer = Producer(
            {
                **connection(settings),
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 200000,
            }
        )

    def send(self, topic: Topic, key: str, record: Record, at: datetime) -> None:
        """Queue one record; ``at`` is the CloudEvents time. Blocks while the queue is full."""
        if topic not in self._encoders:
            self._encoders[topic] = Encoder(self._settings, topic)
        value = self._encoders[topic].encode(record)
        self.send_raw(topic, key.encode(), value, at)

    def send_raw(
        self, topic: Topic, key: bytes | None, value: bytes, at: datetime, more: Mapping[str, str] | None = None
    ) -> None:
        """Queue an encoded value, with ``more`` headers; otherwise as ``send``."""
        with _tracer.start_as_current_span(f"{topic} publish", kind=SpanKind.PRODUCER):
            headers = self._headers(topic, at) + [(name, text.encode()) for name, text in (more or {}).items()]
        name = self._settings.names.topic(topic)
        while True:
            try:
                self._producer.produce(name, value, key, headers=headers, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self, timeout: float = TIMEOUT_SECONDS) -> None:
        """Wait until all messages are acknowledged. Raises DeliveryError."""
        waiting = self._producer.flush(timeout)
        if waiting or self._failed:
            failed, self._failed = self._failed, []
            raise DeliveryError(waiting, failed)

    def close(self) -> None:
        """Flush, then disconnect from the broker and the registry. Raises DeliveryError."""
        try:
            self.flush()
        finally:
            for encoder in self._encoders.values():
                encoder.close()

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
