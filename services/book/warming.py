"""Fills the curves in memory from the store at start, so that the service has curves while Kafka is unavailable."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

import structlog

from dualcast.adapters.store.engine import DBAPIError, Engine, StoreUnavailableError
from dualcast.adapters.store.forecasts import Span, read_curves
from dualcast.catalogue import UseCase
from dualcast.timegrid import Clock
from services.background import Worker
from services.book.curves import CurveCache

_RETRY_SECONDS = 5.0
_log = structlog.get_logger(__name__)


def warming(store: Engine, catalogue: Mapping[str, UseCase], curves: CurveCache, clock: Clock) -> Worker:
    """Return the thread that fills them once the store is available. Curves that a feed has added are not replaced."""
    return Worker("warming", partial(_warm, store, catalogue, curves, clock))


def _warm(
    store: Engine, catalogue: Mapping[str, UseCase], curves: CurveCache, clock: Clock, stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            for use_case in catalogue.values():
                for path in use_case.paths:
                    span = Span(use_case.use_case, path, curves.covered_since(path, clock.now()))
                    _take(store, span, curves, stop)
        except (StoreUnavailableError, DBAPIError) as error:  # without migrations there is no table yet
            _log.warning("curves not read from the store", error=str(error)[:200])
            stop.wait(_RETRY_SECONDS)
        else:
            return


def _take(store: Engine, span: Span, curves: CurveCache, stop: threading.Event) -> None:
    refused = 0
    for forecast in read_curves(store, span):
        if stop.is_set():
            return
        try:
            curves.add(forecast, only_newer=True)
        except (LookupError, ValueError):  # the entity is no longer in the catalogue
            refused += 1
    if refused:
        _log.warning("stored curves refused", use_case=span.use_case, path=span.path, curves=refused)
