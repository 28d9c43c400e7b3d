"""Feeds: a background thread for each topic that passes its messages to a handler and reconnects after outages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import structlog
from opentelemetry import metrics

from dualcast.adapters.kafka.connection import UnreachableError
from services.background import Worker

_RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.25
# Longer than all time limits of a connection and of a poll together.
_STUCK_SECONDS = 30.0
# The most messages of one poll. A message of a backfill holds thousands of observations: tens of megabytes per poll.
_MOST_MESSAGES = 50
# What a handler raises for a message that it cannot use. It must not cost the others, nor stop the feed.
_UNUSABLE = (ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_log = structlog.get_logger(__name__)
State = Literal["connecting", "reading", "following", "unreachable", "stuck"]


class Reader(Protocol[T_co]):
    """Decoded messages of one topic: the port that ``adapters.kafka.readers.TopicReader`` fills."""

    undecodable: int

    def __enter__(self) -> Self:
        """Connect. Raises UnreachableError."""

    def __exit__(self, *_: object) -> None:
        """Disconnect."""

    @property
    def caught_up(self) -> bool:
        """Whether all messages that were on the topic at the start have been read."""

    def poll(self, timeout: float, most: int = 500) -> Sequence[T_co]:
        """The messages that arrived, in order. Raises UnreachableError."""


class Feed(Generic[T]):
    """Passes the messages of a topic to a handler; reconnects when broker or registry was unavailable.

    The handler takes all messages of a poll and returns how many it refused (see ``one_by_one``, ``together``).
    """

    def __init__(self, topic: str, reader: Reader[T], handle: Callable[[Sequence[T]], int]) -> None:
        self.topic = topic
        self._state: State = "connecting"
        self._round_at = monotonic()
        self.records = 0
        self.refused = 0
        self._reader = reader
        self._handle = handle
        self._worker = Worker(f"feed {topic}", self.run)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.feed.records", description="records taken from a topic, by outcome"
        )

    @property
    def state(self) -> State:
        """What the feed does; ``stuck``: a message has occupied it for more than half a minute."""
        return "stuck" if monotonic() - self._round_at > _STUCK_SECONDS else self._state

    @property
    def undecodable(self) -> int:
        """The number of messages that were not Avro of a registered schema."""
        return self._reader.undecodable

    def start(self) -> None:
        """Start the thread that follows the topic."""
        self._worker.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._worker.stop()

    def run(self, stop: threading.Event) -> None:
        """Follow the topic until ``stop`` is set."""
        while not stop.is_set():
            self._round_at = monotonic()
            try:
                with self._reader as reader:
                    self._follow(reader, stop)
            except UnreachableError as error:
                if self._state != "unreachable":
                    _log.warning("feed lost", topic=self.topic, error=str(error)[:200])
                self._state = "unreachable"
                stop.wait(_RETRY_SECONDS)

    def _follow(self, reader: Reader[T], stop: threading.Event) -> None:
        self._state = "reading"
        while not stop.is_set():
            self._round_at = monotonic()
            messages = reader.poll(_POLL_SECONDS, _MOST_MESSAGES)
            if messages:
                self._take(messages)
            if self._state == "reading" and reader.caught_up:
                self._state = "following"
                _log.info("feed caught up", topic=self.topic, records=self.records, undecodable=reader.undecodable)

    def _take(self, messages: Sequence[T]) -> None:
        refused = self._handle(messages)
        self.refused += refused
        self.records += len(messages) - refused
        for outcome, count in (("refused", refused), ("taken", len(messages) - refused)):
            if count:
                self._counter.add(count, {"topic": self.topic, "outcome": outcome})


def caught_up(feeds: Iterable[Feed[Any]]) -> bool:
    """Whether every feed has read the messages that were on its topic at the start."""
    return all(feed.state == "following" for feed in feeds)


def together(take: Callable[[Sequence[T]], None]) -> Callable[[Sequence[T]], int]:
    """A handler that passes the messages of a poll on together and, where that fails, one by one."""

    def take_one(message: T) -> None:
        take([message])

    def handle(messages: Sequence[T]) -> int:
        try:
            take(messages)
        except _UNUSABLE as error:
            _log.warning("records taken one by one", records=len(messages), error=repr(error)[:200])
            return one_by_one(take_one)(messages)
        return 0

    return handle


def one_by_one(take: Callable[[T], None]) -> Callable[[Sequence[T]], int]:
    """A handler that passes each message on alone; a message that ``take`` raises an error for is refused."""

    def handle(messages: Sequence[T]) -> int:
        refused = 0
        for message in messages:
            try:
                take(message)
            except _UNUSABLE as error:
                refused += 1
                _log.warning("record refused", error=repr(error)[:200])
        return refused

    return handle
