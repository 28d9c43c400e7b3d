"""Stores each curve of the day-ahead and the intraday forecast topic exactly once, also across restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog
from opentelemetry import metrics

from dualcast.adapters.kafka.connection import reaching
from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.store.engine import DBAPIError, Engine, StatementError, StoreUnavailableError
from dualcast.adapters.store.forecasts import IssueDay, save
from dualcast.catalogue import path_of
from dualcast.curves.forecast import Forecast
from dualcast.heartbeat import beat
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import Clock

GROUP = "store-recorder"
_TOPICS = (Topic.FORECASTS_DAY_AHEAD, Topic.FORECASTS_INTRADAY)
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Recorder:
    """Stores the curves of the forecast topics, then commits the offsets. A curve that is received again is ignored."""

    def __init__(self, engine: Engine, clock: Clock, invalidate: Callable[[Collection[IssueDay]], None]) -> None:
        """``invalidate`` drops the cached days whose curves have changed; it may raise ConnectionError."""
        self._engine = engine
        self._clock = clock
        self._invalidate = invalidate
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.store.curves", description="curves read from the topics, by outcome: new, known or refused"
        )

    def follow(self, settings: Settings, stop: threading.Event) -> None:
        """Store new curves until ``stop`` is set. Raises UnreachableError if the broker or the registry fails."""
        with ExitStack() as stack, reaching("recorder"):
            consumers = [
                stack.enter_context(GroupConsumer(settings, topic, Decoder.record, group=GROUP, from_beginning=True))
                for topic in _TOPICS
            ]
            while not stop.is_set():
                beat()
                for consumer in consumers:
                    records = [record for _, record in consumer.poll(_POLL_SECONDS)]
                    if records and self.store(records, stop):
                        consumer.commit()

    def store(self, records: Sequence[dict[str, Any]], stop: threading.Event) -> bool:
        """Store records; retry while the store is unavailable. Returns False if stopped before they were stored.

        A record that is not a valid curve, or that the store rejects, is counted, logged and skipped.
        """
        curves = list(self._curves(records))
        try:
            return self._retry(partial(self._save, curves), stop)
        except (DBAPIError, StatementError):
            return all(self._retry(partial(self._save_one, curve), stop) for curve in curves)

    def _retry(self, work: Callable[[], None], stop: threading.Event) -> bool:
        warned = False
        while True:
            beat()
            try:
                work()
            except StoreUnavailableError as error:
                if not warned:
                    _log.warning("store unavailable", error=str(error)[:300])
                    warned = True
                if stop.wait(_RETRY_SECONDS):
                    return False
            else:
                return True

    def _curves(self, records: Sequence[dict[str, Any]]) -> Iterator[Forecast]:
        for record in records:
            try:
                curve = Forecast.from_record(record)
                path_of(curve.path)
            except (TypeError, ValueError, KeyError) as error:
                self._refuse(repr(error))
            else:
                yield curve

    def _save(self, curves: Sequence[Forecast]) -> None:
        new = save(self._engine, curves, self._clock.now())
        if new:
            self._invalidate_cache({IssueDay.of(curve) for curve in curves})
        self._counter.add(new, {"outcome": "new"})
        self._counter.add(len(curves) - new, {"outcome": "known"})

    def _invalidate_cache(self, days: Collection[IssueDay]) -> None:
        """Drop the cached days. If Redis fails, the error is logged, and the entries are dropped when they expire."""
        try:
            self._invalidate(days)
        except ConnectionError as error:
            _log.warning("cached days not invalidated", days=len(days), error=str(error)[:200])

    def _save_one(self, curve: Forecast) -> None:
        try:
            self._save([curve])
        except (DBAPIError, StatementError) as error:
            self._refuse(str(error.orig))

    def _refuse(self, reason: str) -> None:
        self._counter.add(1, {"outcome": "refused"})
        _log.warning("curve refused", error=reason[:300])
