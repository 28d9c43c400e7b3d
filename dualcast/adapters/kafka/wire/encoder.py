"""Encodes records of one topic as Avro in Confluent's wire format."""

from __future__ import annotations

from typing import Any, Protocol

from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from dualcast.adapters.kafka.connection import registry_client
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings


class Record(Protocol):
    """Anything that has a form in Avro."""

    def to_record(self) -> dict[str, Any]:
        """The fields of the Avro schema."""


class Encoder:
    """Encodes records of one topic. The first call registers the topic's schema."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._client = registry_client(settings.registry)
        self._context = SerializationContext(settings.names.topic(topic), MessageField.VALUE)
        self._serializer = AvroSerializer(self._client, schema_text(topic))

    def encode(self, record: Record) -> bytes:
        """The bytes of a record. Raises SchemaRegistryError, TransportError while the registry is unavailable."""
        encoded = self._serializer(record.to_record(), self._context)
        assert isinstance(encoded, bytes)
        return encoded

    def close(self) -> None:
        """Close the connection to the registry."""
        self._client.close()
