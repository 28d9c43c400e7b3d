"""From a source to ``observations.v1``: acknowledged by the broker, however often the broker restarts."""

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
from dualcast.records import DeadLetter, Topic
from dualcast.settings import Settings
from streaming.ingest.messages import messages
from streaming.ingest.signals import Stop, Stopped

# Short enough that a signal is heard soon, long enough for a busy broker.
_PATIENCE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 2.0
_FLEETING = (DeliveryError, *OUTAGES)
_log = structlog.get_logger(__name__)


class _Outgoing(NamedTuple):
    topic: Topic
    key: str
    record: Record
    at: datetime


class Publisher:
    """Sends frames of observations and returns when the broker has them."""

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
        if kind is None:  # else something may still be on its way, and waiting for it would hold up the stop
            self._producer.close()

    def prepare(self) -> None:
        """Create the topics where they are missing. Raises Stopped."""
        self._retried(lambda: create_topics(self._settings, _PATIENCE_SECONDS))

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        """Send a frame in messages of at most ``most`` observations; the number of messages. Raises Stopped.

        While the broker or the registry is away it goes on trying; what may have been lost is sent again, so that
        a value can come twice but none is missing.
        """
        batch = [_Outgoing(Topic.OBSERVATIONS, m.entity_id, m, m.newest) for m in messages(observations, most)]
        with self._tracer.start_as_current_span("publish observations", kind=trace.SpanKind.PRODUCER):
            self._retried(lambda: self._deliver(batch))
        self._published.add(len(observations))
        return len(batch)

    def bury(self, letter: DeadLetter) -> None:
        """Send what could not be used to the dead letters; waits as ``publish`` does. Raises Stopped."""
        buried = _Outgoing(Topic.DEAD_LETTERS, letter.topic, letter, letter.occurred_at)
        self._retried(lambda: self._deliver([buried]))
        self._refused.add(1, {"reason": letter.reason})

    def _retried(self, work: Callable[[], None]) -> None:
        for attempt in stamina.retry_context(
            on=_FLEETING, attempts=None, timeout=None, wait_max=_LONGEST_PAUSE_SECONDS, wait_jitter=0.1
        ):
            with attempt:
                if self._stop.requested:
                    raise Stopped
                if attempt.num > 1:
                    self._producer = RecordProducer(self._settings, self._source)
                work()

    def _deliver(self, batch: Sequence[_Outgoing]) -> None:
        for outgoing in batch:
            self._producer.send(outgoing.topic, outgoing.key, outgoing.record, outgoing.at)
        while True:
            try:
                return self._producer.flush(_PATIENCE_SECONDS)
            except DeliveryError as error:
                if error.failed:
                    raise
                _log.warning("waiting for the broker", messages=error.waiting)
                if self._stop.requested:
                    raise Stopped from error
