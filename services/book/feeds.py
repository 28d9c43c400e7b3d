"""Feeds: a background thread for each topic that passes its records to a handler and reconnects after outages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal, Protocol, Self

import structlog
from opentelemetry import metrics

from dualcast.adapters.kafka.connection import UnreachableError
from services.background import Worker

_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)
State = Literal["connecting", "reading", "following", "unreachable"]


class Reader(Protocol):
    """Records of one topic: the port that ``forecast_store.TopicReader`` fills."""

    undecodable: int

    def __enter__(self) -> Self:
        """Connect. Raises UnreachableError."""

    def __exit__(self, *_: object) -> None:
        """Disconnect."""

    @property
    def caught_up(self) -> bool:
        """Whether all that was there at the start has been read."""

    def poll(self, timeout: float, most: int = 500) -> list[dict[str, Any]]:
        """What came. Raises UnreachableError."""


class Feed:
    """Hands every record of a topic to a handler; reconnects where broker or registry were away."""

    def __init__(self, topic: str, reader: Reader, handle: Callable[[dict[str, Any]], None]) -> None:
        self.topic = topic
        self.state: State = "connecting"
        self.records = 0
        self.refused = 0
        self._reader = reader
        self._handle = handle
        self._worker = Worker(f"feed {topic}", self.run)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.feed.records", description="records taken from a topic, by outcome"
        )

    @property
    def undecodable(self) -> int:
        """Messages that were no Avro of a registered schema."""
        return self._reader.undecodable

    def start(self) -> None:
        """Begin to follow."""
        self._worker.start()

    def stop(self) -> None:
        """Stop following."""
        self._worker.stop()

    def run(self, stop: threading.Event) -> None:
        """Follow until told to stop."""
        while not stop.is_set():
            try:
                with self._reader as reader:
                    self._follow(reader, stop)
            except UnreachableError as error:
                if self.state != "unreachable":
                    _log.warning("feed lost", topic=self.topic, error=str(error)[:200])
                self.state = "unreachable"
                stop.wait(_RETRY_SECONDS)

    def _follow(self, reader: Reader, stop: threading.Event) -> None:
        self.state = "reading"
        while not stop.is_set():
            for record in reader.poll(0.25):
                self._take(record)
            if self.state == "reading" and reader.caught_up:
                self.state = "following"
                _log.info("feed caught up", topic=self.topic, records=self.records, undecodable=reader.undecodable)

    def _take(self, record: dict[str, Any]) -> None:
        """One record; one that makes no sense is counted, and the stream goes on."""
        try:
            self._handle(record)
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            self.refused += 1
            self._counter.add(1, {"topic": self.topic, "outcome": "refused"})
            _log.warning("record refused", topic=self.topic, error=repr(error)[:200])
        else:
            self.records += 1
            self._counter.add(1, {"topic": self.topic, "outcome": "taken"})
