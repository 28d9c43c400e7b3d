"""The process of da-svc."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from dualcast import telemetry
from dualcast.adapters.forecast_store import TopicReader, stored_forecasts
from dualcast.adapters.store.engine import open_store
from dualcast.catalogue import UseCase, load_catalogue
from dualcast.records import Topic
from dualcast.settings import Settings, load_settings
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from services.shared.access.control import Access
from services.shared.bodies import age_seconds
from services.shared.memory.curves import CurveBook
from services.shared.memory.feeds import Feed, Worker
from services.shared.memory.series import SeriesBook
from services.shared.server import serve

_log = structlog.get_logger(__name__)


def run() -> None:
    """Serve day-ahead forecasts until told to stop."""
    settings = load_settings()
    telemetry.configure(settings, "da-svc")
    deps = dependencies(settings)
    _measure(deps)
    serve(build_app(deps), settings, settings.da_svc)


def dependencies(settings: Settings) -> DayAheadDeps:
    """Books fed by the topics and, for the time when Kafka is away, by the lake."""
    catalogue = load_catalogue(settings.use_cases)
    curves, series = CurveBook(catalogue), SeriesBook(catalogue, settings.clock)
    feeds = [
        Feed(Topic.FORECASTS_DAY_AHEAD, TopicReader(settings, Topic.FORECASTS_DAY_AHEAD), curves.add_record),
        Feed(Topic.FORECASTS_INTRADAY, TopicReader(settings, Topic.FORECASTS_INTRADAY), curves.add_record),
        Feed(Topic.OBSERVATIONS, TopicReader(settings, Topic.OBSERVATIONS), series.add_record),
    ]
    lake = Worker("lake", lambda stop: _load_stored(settings, catalogue, curves, stop))
    return DayAheadDeps(
        settings=settings,
        catalogue=catalogue,
        curves=curves,
        series=series,
        access=Access.from_settings(settings, open_store(settings), "da-svc", settings.da_svc),
        feeds=feeds,
        background=[*feeds, lake],
    )


def _load_stored(
    settings: Settings, catalogue: Mapping[str, UseCase], curves: CurveBook, stop: threading.Event
) -> None:
    """Take the lake's curves in, so that there is something to serve while Kafka is away."""
    for use_case in catalogue.values():
        try:
            for forecast in stored_forecasts(settings, use_case, "day-ahead"):
                if stop.is_set():
                    return
                curves.add(forecast, only_newer=True)
        except (OSError, ValueError, KeyError) as error:
            _log.warning("stored curves not read", use_case=use_case.use_case, error=repr(error)[:200])


def _measure(deps: DayAheadDeps) -> None:
    """Export the age of each entity's newest day-ahead curve."""

    def ages(_: CallbackOptions) -> list[Observation]:
        now = deps.clock.now()
        return [
            Observation(age_seconds(days[-1].forecast.issued_at, now), {"use_case": name, "entity_id": entity.id})
            for name, use_case in deps.catalogue.items()
            for entity in use_case.entities
            if (days := deps.curves.days(name, entity.id))
        ]

    metrics.get_meter(__name__).create_observable_gauge(
        "dualcast.forecast.age", [ages], unit="s", description="age of the newest day-ahead curve"
    )
