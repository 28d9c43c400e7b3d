"""Connections to the broker and the schema registry: client settings, and the error of an unavailable server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from confluent_kafka import KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from dualcast.settings import Settings

TIMEOUT_SECONDS = 30.0
_RECONNECT_MILLISECONDS = 500
# What the clients raise while a broker or registry is unavailable.
OUTAGES = (KafkaException, SchemaRegistryError, httpx2.HTTPError, OSError)


class UnreachableError(ConnectionError):
    """The broker or the registry is unavailable now. A later attempt may succeed."""


class DeliveryError(RuntimeError):
    """The broker did not acknowledge messages in time: ``waiting`` may still arrive, ``failed`` will not."""

    def __init__(self, waiting: int, failed: list[str]) -> None:
        super().__init__(f"{waiting} messages still waiting, {len(failed)} failed: {failed[:3]}")
        self.waiting = waiting
        self.failed = failed


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn all errors of an unavailable broker or registry into UnreachableError."""
    try:
        yield
    except (DeliveryError, *OUTAGES) as error:
        raise UnreachableError(f"{what}: {error}") from error


def connection(settings: Settings) -> dict[str, Any]:
    """The settings that all Kafka clients share.

    While the broker is unavailable, a client reconnects (and logs it) at the shortest backoff, since librdkafka drops
    longer backoffs when it starts again with the bootstrap servers. Its default is twenty times a second.
    """
    return {"bootstrap.servers": settings.kafka, "reconnect.backoff.ms": _RECONNECT_MILLISECONDS}


def registry_client(registry: str) -> SchemaRegistryClient:
    """A client of the schema registry at a URL."""
    return SchemaRegistryClient({"url": registry, "timeout": TIMEOUT_SECONDS})
