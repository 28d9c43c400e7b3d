"""Fills the store with every curve of both forecast topics: nothing lost, nothing twice, through every restart."""

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
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import Clock

GROUP = "store-recorder"
_TOPICS = (Topic.FORECASTS_DAY_AHEAD, Topic.FORECASTS_INTRADAY)
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Recorder:
    """Stores records of the forecast topics. A message is committed after its curve is stored, so it may come twice."""

    def __init__(self, engine: Engine, clock: Clock, forget: Callable[[Collection[IssueDay]], None]) -> None:
        """``forget`` is told the days whose curves have changed; it may raise ConnectionError."""
        self._engine = engine
        self._clock = clock
        self._forget = forget
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.store.curves", description="curves taken from the topics, by outcome: new, known or refused"
        )

    def follow(self, settings: Settings, stop: threading.Event) -> None:
        """Store what comes until told to stop. Raises UnreachableError where the broker or the registry fails."""
        with ExitStack() as stack, reaching("recorder"):
            consumers = [
                stack.enter_context(GroupConsumer(settings, topic, Decoder.record, group=GROUP, from_beginning=True))
                for topic in _TOPICS
            ]
            while not stop.is_set():
                for consumer in consumers:
                    records = [record for _, record in consumer.poll(_POLL_SECONDS)]
                    if records and self.take(records, stop):
                        consumer.commit()

    def take(self, records: Sequence[dict[str, Any]], stop: threading.Event) -> bool:
        """Store records, waiting for a store that is away. False where it was told to stop before they were stored.

        A record that makes no curve, or that the store refuses, is counted and logged, and the others go on.
        """
        curves = list(self._curves(records))
        try:
            return self._insist(partial(self._save, curves), stop)
        except (DBAPIError, StatementError):
            return all(self._insist(partial(self._save_alone, curve), stop) for curve in curves)

    def _insist(self, work: Callable[[], None], stop: threading.Event) -> bool:
        warned = False
        while True:
            try:
                work()
            except StoreUnavailableError as error:
                if not warned:
                    _log.warning("store away", error=str(error)[:300])
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
            self._make_forgotten({IssueDay.of(curve) for curve in curves})
        self._counter.add(new, {"outcome": "new"})
        self._counter.add(len(curves) - new, {"outcome": "known"})

    def _make_forgotten(self, days: Collection[IssueDay]) -> None:
        """Where that fails, the entries end by themselves: the curves that come after these must not wait for it."""
        try:
            self._forget(days)
        except ConnectionError as error:
            _log.warning("days not forgotten", days=len(days), error=str(error)[:200])

    def _save_alone(self, curve: Forecast) -> None:
        try:
            self._save([curve])
        except (DBAPIError, StatementError) as error:
            self._refuse(str(error.orig))

    def _refuse(self, why: str) -> None:
        self._counter.add(1, {"outcome": "refused"})
        _log.warning("curve refused", error=why[:300])
