"""Reads a topic as a member of a consumer group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.records import Topic
from dualcast.settings import Settings

# the type of the messages, for packages that do not import the client
__all__ = ["GroupConsumer", "Message"]

# The broker gives the partitions of a killed consumer to another one after this time.
_SESSION_MILLISECONDS = 10_000
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class GroupConsumer(Generic[T]):
    """Reads one topic and decodes it, such as by ``Decoder.record``.

    A message that cannot be decoded is logged and passed to ``on_fault``, and reading continues. ``uncommitted`` also
    reads messages of open transactions, for readers that recognise repeated messages.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        decode: Callable[[Decoder, bytes | None], T],
        *,
        group: str,
        from_beginning: bool,
        on_fault: Callable[[Message, DecodingError], None] | None = None,
        uncommitted: bool = False,
    ) -> None:
        self._decoder = Decoder(settings, topic)
        self._decode = decode
        self._on_fault = on_fault
        self._consumer = Consumer(
            {
                **connection(settings),
                "group.id": settings.names.group(group),
                "auto.offset.reset": "earliest" if from_beginning else "latest",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted" if uncommitted else "read_committed",
                "session.timeout.ms": _SESSION_MILLISECONDS,
            }
        )
        self._consumer.subscribe([settings.names.topic(topic)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group and disconnect."""
        self._consumer.close()

    def poll(self, timeout: float, most: int = 500) -> list[tuple[Message, T]]:
        """At most ``most`` messages that came within ``timeout`` seconds, decoded. Raises UnreachableError."""
        return list(self._decoded(self._consumer.consume(most, timeout)))

    def commit(self) -> None:
        """Commit what was read, so that the group's next consumer continues behind it."""
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def _decoded(self, messages: list[Message]) -> Iterator[tuple[Message, T]]:
        for message in messages:
            if message.error() is not None:
                _log.warning("kafka", error=str(message.error()))
                continue
            try:
                yield message, self._decode(self._decoder, message.value())
            except DecodingError as fault:
                _log.warning("undecodable message", topic=message.topic(), offset=message.offset(), error=str(fault))
                if self._on_fault is not None:
                    self._on_fault(message, fault)
