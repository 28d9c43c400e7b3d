"""Readers of whole topics without a consumer group, and the start position of new groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dualcast.adapters.kafka.connection import UnreachableError, connection, reaching
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.curves.forecast import Forecast
from dualcast.records import Topic
from dualcast.settings import Settings

_TIMEOUT_SECONDS = 10.0
# Messages that the client has fetched ahead; its default of 64 MiB for each reader is more than a service's curves.
_MOST_QUEUED_KIB = 8 * 1024
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class TopicReader(Generic[T]):
    """Reads a topic without a consumer group, decodes it, such as by ``Decoder.record``, and detects its end.

    ``tail`` starts that many messages before the end of each partition, ``since`` at the first message of that time or
    later; messages with other keys than ``keys`` are skipped without decoding. A reader that is opened again continues
    at its position. ``undecodable`` counts messages that could not be decoded.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        decode: Callable[[Decoder, bytes | None], T],
        *,
        tail: int | None = None,
        since: datetime | None = None,
        keys: Collection[bytes] | None = None,
    ) -> None:
        self._settings = settings
        self._topic = settings.names.topic(topic)
        self._decode = decode
        self._decoder = Decoder(settings, topic)
        self._tail = tail
        self._since = since
        self._keys = keys
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._behind: set[int] = set()
        self._consumer: Consumer | None = None
        self.undecodable = 0

    def __enter__(self) -> Self:
        """Connect. Raises UnreachableError if the broker is unavailable or the topic is missing."""
        consumer = _consumer(self._settings, f"reader-{self._topic}")
        try:
            with reaching(self._topic):
                starts, self._ends = _bounds(consumer, self._topic, self._tail, self._since)
        except UnreachableError:
            consumer.close()
            raise
        begin = {p: self._next.get(p, start) for p, start in starts.items()}
        self._behind = {p for p, end in self._ends.items() if begin[p] < end}
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in begin.items()])
        self._consumer = consumer
        return self

    def __exit__(self, *_: object) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None

    @property
    def caught_up(self) -> bool:
        """Whether all messages that existed when the reader was opened have been read."""
        return not self._behind

    def poll(self, timeout: float, most: int = 500) -> list[T]:
        """At most ``most`` decoded messages that came within ``timeout`` seconds.

        Raises UnreachableError if the broker or registry fails. The next ``with`` reads the same messages again.
        """
        before = dict(self._next)
        try:
            return [decoded for message in self.messages(timeout, most) for decoded in self._decoded(message)]
        except UnreachableError:
            self._next = before
            raise

    def messages(self, timeout: float, most: int = 500) -> Iterator[Message]:
        """The same messages, undecoded. A message counts as read when the iterator moves on to the next."""
        assert self._consumer is not None, "use the reader in a with statement"
        with reaching(self._topic):
            messages = self._consumer.consume(most, timeout)
        for message in messages:
            if message.error() is not None:
                self._handle_event(message)
                continue
            if self._keys is None or message.key() in self._keys:
                yield message
            self._read_until(message.partition(), message.offset() + 1)

    def _read_until(self, partition: int, offset: int) -> None:
        self._next[partition] = offset
        if offset >= self._ends[partition]:
            self._behind.discard(partition)

    def _handle_event(self, message: Message) -> None:
        # markers of transactions take the last offsets and are never delivered
        if message.error().code() == KafkaError._PARTITION_EOF:
            self._behind.discard(message.partition())
        elif not message.error().retriable():
            raise UnreachableError(f"{self._topic}: {message.error()}")

    def _decoded(self, message: Message) -> Iterator[T]:
        """The decoded message, or nothing. Raises UnreachableError."""
        try:
            yield self._decode(self._decoder, message.value())
        except DecodingError as fault:
            self.undecodable += 1
            _log.warning("undecodable message", topic=self._topic, offset=message.offset(), error=str(fault)[:200])


def published(settings: Settings, topic: Topic, *, tail: int | None = None) -> Iterator[dict[str, Any]]:
    """All records that are on a topic now, in order within each partition. Raises UnreachableError."""
    with TopicReader(settings, topic, Decoder.record, tail=tail) as reader:
        while not reader.caught_up:
            yield from reader.poll(0.5)


def published_forecasts(settings: Settings, topic: Topic, *, tail: int | None = None) -> Iterator[Forecast]:
    """All curves that are on a forecast topic now. Raises UnreachableError."""
    return (Forecast.from_record(record) for record in published(settings, topic, tail=tail))


def start_group_near_end(settings: Settings, topic: Topic, group: str, tail: int) -> None:
    """Set a new consumer group to ``tail`` messages before the end of each partition.

    Uncommitted messages count: a job that catches up commits hundreds of thousands at a time. A group with committed
    offsets keeps them. Raises UnreachableError.
    """
    consumer, name = _consumer(settings, group, "read_uncommitted"), settings.names.topic(topic)
    try:
        with reaching(name):
            starts, _ = _bounds(consumer, name, tail)
            known = consumer.committed([TopicPartition(name, p) for p in starts], timeout=_TIMEOUT_SECONDS)
            fresh = [TopicPartition(name, p.partition, starts[p.partition]) for p in known if p.offset < 0]
            if fresh:
                consumer.commit(offsets=fresh, asynchronous=False)
    finally:
        consumer.close()


def _consumer(settings: Settings, group: str, isolation: str = "read_committed") -> Consumer:
    return Consumer(
        {
            **connection(settings),
            "group.id": settings.names.group(group),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "queued.max.messages.kbytes": _MOST_QUEUED_KIB,
            "fetch.queue.backoff.ms": 20,  # by default a full queue is filled again after a second
        }
    )


def _bounds(
    consumer: Consumer, topic: str, tail: int | None, since: datetime | None = None
) -> tuple[dict[int, int], dict[int, int]]:
    """The first offset to read and the end of each partition. Raises KafkaException."""
    found = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    starts, ends = {}, {}
    for partition in found.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_SECONDS)
        starts[partition], ends[partition] = low if tail is None else max(low, high - tail), high
    if since is not None:
        moment = int(since.timestamp() * 1000)
        wanted = [TopicPartition(topic, partition, moment) for partition in starts]
        for written in consumer.offsets_for_times(wanted, timeout=_TIMEOUT_SECONDS):
            # a negative offset: nothing was written since
            starts[written.partition] = written.offset if written.offset >= 0 else ends[written.partition]
    return starts, ends
