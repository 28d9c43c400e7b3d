"""Publishes observations to ``observations.v1`` until the broker acknowledges them, through restarts of the broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Self

import pandas as pd
import stamina
import structlog
from opentelemetry import metrics, trace

from dualcast.adapters.kafka.connection import OUTAGES, DeliveryError
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.kafka.wire.encoder import Record
from dualcast.heartbeat import beat
from dualcast.records import DeadLetter, Topic
from dualcast.settings import Settings
from streaming.ingest.messages import messages
from streaming.ingest.signals import Stop, Stopped

# Short enough for a prompt reaction to a signal, long enough for a busy broker.
_PATIENCE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 2.0
_RETRIED = (DeliveryError, *OUTAGES)
_log = structlog.get_logger(__name__)


class _Outgoing(NamedTuple):
    topic: Topic
    key: str
    record: Record
    at: datetime


class Publisher:
    """Sends frames of observations and returns when the broker has acknowledged them."""

    def __init__(self, settings: Settings, source: str, stop: Stop) -> None:
        self._settings = settings
        self._source = f"dualcast/ingest/{source}".replace(" ", "-")
        self._stop = stop
        self._producer = RecordProducer(settings, self._source)
        self._tracer = trace.get_tracer(__name__)
        meter = metrics.get_meter(__name__)
        self._published = meter.create_counter("dualcast.ingest.observations", unit="{observation}")
        self._refused = meter.create_counter("dualcast.dead_letters", description="records refused, by reason")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # after an error, waiting for outstanding messages would delay the stop
            self._producer.close()

    def prepare(self) -> None:
        """Create missing topics. Raises Stopped."""
        self._retried(lambda: create_topics(self._settings, _PATIENCE_SECONDS))

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        """Send a frame in messages of at most ``most`` observations; return the number of messages. Raises Stopped.

        Retries while the broker or the registry is unavailable. Unacknowledged messages are sent again, so a value may
        be published twice, but none is lost.
        """
        batch = [_Outgoing(Topic.OBSERVATIONS, m.entity_id, m, m.newest) for m in messages(observations, most)]
        with self._tracer.start_as_current_span("publish observations", kind=trace.SpanKind.PRODUCER):
            self._retried(lambda: self._deliver(batch))
        self._published.add(len(observations))
        return len(batch)

    def send_dead_letter(self, letter: DeadLetter) -> None:
        """Send a dead letter; retries as ``publish`` does. Raises Stopped."""
        outgoing = _Outgoing(Topic.DEAD_LETTERS, letter.topic, letter, letter.occurred_at)
        self._retried(lambda: self._deliver([outgoing]))
        self._refused.add(1, {"reason": letter.reason})

    def _retried(self, work: Callable[[], None]) -> None:
        for attempt in stamina.retry_context(
            on=_RETRIED, attempts=None, timeout=None, wait_max=_LONGEST_PAUSE_SECONDS, wait_jitter=0.1
        ):
            with attempt:
                beat()
                if self._stop.requested:
                    raise Stopped
                if attempt.num > 1:
                    self._producer = RecordProducer(self._settings, self._source)
                work()

    def _deliver(self, batch: Sequence[_Outgoing]) -> None:
        for outgoing in batch:
            self._producer.send(outgoing.topic, outgoing.key, outgoing.record, outgoing.at)
        while True:
            beat()
            try:
                return self._producer.flush(_PATIENCE_SECONDS)
            except DeliveryError as error:
                if error.failed:
                    raise
                _log.warning("waiting for the broker", messages=error.waiting)
                if self._stop.requested:
                    raise Stopped from error
