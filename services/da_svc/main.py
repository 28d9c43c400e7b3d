"""The process of da-svc."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from dualcast import telemetry
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.store.engine import open_store
from dualcast.catalogue import load_catalogue
from dualcast.records import Topic
from dualcast.settings import Settings, load_settings
from services.access.control import Access
from services.api import application
from services.api.answers import age_seconds
from services.book.archive import levels_of
from services.book.curves import CurveCache, intraday_span
from services.book.feeds import Feed, caught_up, one_by_one, together
from services.book.series import SeriesCache
from services.book.warming import warming
from services.circuits import Circuits
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from services.heap import freezing

# Older intraday curves are read from the archive.
_INTRADAY_BYTES = 192 * 2**20


def run() -> None:
    """Serve day-ahead forecasts until stopped."""
    settings = load_settings()
    telemetry.configure(settings, "da-svc")
    deps = dependencies(settings)
    _measure(deps)
    application.run(build_app(deps), settings, settings.da_svc)


def dependencies(settings: Settings) -> DayAheadDeps:
    """Caches that are filled from the topics, and from the store while Kafka is unavailable."""
    catalogue = load_catalogue(settings.use_cases)
    circuits, store = Circuits(), open_store(settings)
    span = intraday_span(catalogue.values(), _INTRADAY_BYTES)
    curves, series = CurveCache(catalogue, span), SeriesCache(catalogue, settings.clock)
    feeds = _feeds(settings, curves, series)
    return DayAheadDeps(
        settings=settings,
        catalogue=catalogue,
        curves=curves,
        series=series,
        access=Access.from_settings(settings, store, "da-svc", settings.da_svc, circuits),
        circuits=circuits,
        archive_levels=levels_of(settings.redis, store, settings.names),
        feeds=feeds,
        background=[*feeds, warming(store, catalogue, curves, settings.clock), freezing(lambda: caught_up(feeds))],
    )


def _feeds(settings: Settings, curves: CurveCache, series: SeriesCache) -> list[Feed[Any]]:
    """The feeds of the caches. They skip messages that are too old to be kept, but none in a replay."""
    now = settings.clock.now()
    intraday, observed = curves.covered_since("intraday", now), series.covered_since(now)
    live = not settings.clock.is_replay
    day_ahead_reader = TopicReader[dict[str, Any]](settings, Topic.FORECASTS_DAY_AHEAD, Decoder.record)
    intraday_reader = TopicReader[dict[str, Any]](
        settings, Topic.FORECASTS_INTRADAY, Decoder.record, since=intraday if live else None
    )
    observations = TopicReader(settings, Topic.OBSERVATIONS, Decoder.columns, since=observed if live else None)
    return [
        Feed(Topic.FORECASTS_DAY_AHEAD, day_ahead_reader, one_by_one(curves.add_record)),
        Feed(Topic.FORECASTS_INTRADAY, intraday_reader, one_by_one(curves.add_record)),
        Feed(Topic.OBSERVATIONS, observations, together(series.add)),
    ]


def _measure(deps: DayAheadDeps) -> None:
    """Export the age of each entity's newest day-ahead curve."""

    def ages(_: CallbackOptions) -> list[Observation]:
        now = deps.clock.now()
        return [
            Observation(age_seconds(days[-1].issued_at, now), {"use_case": name, "entity_id": entity.id})
            for name, use_case in deps.catalogue.items()
            for entity in use_case.entities
            if (days := deps.curves.days(name, entity.id))
        ]

    metrics.get_meter(__name__).create_observable_gauge(
        "dualcast.forecast.age", [ages], unit="s", description="age of the newest day-ahead curve"
    )
