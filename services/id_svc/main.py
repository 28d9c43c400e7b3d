"""The process of id-svc."""

from __future__ import annotations

from typing import Any

from dualcast import telemetry
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.store.engine import open_store
from dualcast.catalogue import load_catalogue
from dualcast.records import Topic
from dualcast.settings import Settings, load_settings
from models.prediction.intraday import prove_intraday
from services.access.control import Access
from services.api import application
from services.book.archive import levels_of
from services.book.curves import CurveCache, intraday_span
from services.book.feeds import Feed, caught_up, one_by_one, together
from services.book.series import SeriesCache
from services.book.warming import warming
from services.circuits import Circuits
from services.heap import freezing
from services.id_svc.adapters import KafkaArrivals, KafkaOutbox, MlflowModels, RedisFeatures
from services.id_svc.app import build_app
from services.id_svc.deps import IntradayDeps
from services.id_svc.publisher import Publisher
from services.id_svc.scoring.forecaster import IntradayForecaster
from services.id_svc.scoring.freshness import InputAges
from services.id_svc.scoring.intervals import IntervalFactorCache
from services.id_svc.scoring.model_cache import ModelCache
from services.id_svc.scoring.prediction_log import PredictionLog

# Enough for the last day of each entity, which the fallbacks need.
_MESSAGES_BACK = 2_000
# Older intraday curves are read from the archive; the fallbacks need only the newest.
_INTRADAY_BYTES = 48 * 2**20


def run() -> None:
    """Serve and publish intraday forecasts until stopped."""
    settings = load_settings()
    telemetry.configure(settings, "id-svc")
    application.run(build_app(dependencies(settings)), settings, settings.id_svc)


def dependencies(settings: Settings) -> IntradayDeps:
    """Models from MLflow, interval factors from the lake, rows from Redis and Kafka, and caches for the fallbacks."""
    catalogue = {n: u for n, u in load_catalogue(settings.use_cases).items() if "intraday" in u.paths}
    circuits, store = Circuits(), open_store(settings)
    span = intraday_span(catalogue.values(), _INTRADAY_BYTES)
    curves, series = CurveCache(catalogue, span), SeriesCache(catalogue, settings.clock)
    model_cache = ModelCache(MlflowModels(settings, circuits), catalogue, prove_intraday)
    features = {name: RedisFeatures(settings, name, circuits) for name in catalogue}
    intervals, log = IntervalFactorCache(settings, catalogue), PredictionLog(settings)
    forecaster = IntradayForecaster(
        features, model_cache, intervals.curves, curves, series, settings.clock, InputAges(catalogue, series), log
    )
    arrivals, outbox = KafkaArrivals(settings), KafkaOutbox(settings)
    publisher = Publisher(arrivals, outbox, forecaster, model_cache, catalogue, settings.clock)
    feeds = _feeds(settings, curves, series)
    heap = freezing(lambda: caught_up(feeds) and model_cache.polled.is_set())
    stored = warming(store, catalogue, curves, settings.clock)
    return IntradayDeps(
        settings=settings,
        catalogue=catalogue,
        forecaster=forecaster,
        model_cache=model_cache,
        curves=curves,
        series=series,
        publisher=publisher,
        access=Access.from_settings(settings, store, "id-svc", settings.id_svc, circuits),
        circuits=circuits,
        archive_levels=levels_of(settings.redis, store, settings.names),
        feeds=feeds,
        background=[intervals, *feeds, model_cache, publisher, log, stored, heap],
    )


def _feeds(settings: Settings, curves: CurveCache, series: SeriesCache) -> list[Feed[Any]]:
    """The newest messages of each topic: what the fallbacks need."""
    forecasts = (Topic.FORECASTS_DAY_AHEAD, Topic.FORECASTS_INTRADAY)
    readers = [TopicReader[dict[str, Any]](settings, t, Decoder.record, tail=_MESSAGES_BACK) for t in forecasts]
    observations = TopicReader(settings, Topic.OBSERVATIONS, Decoder.columns, tail=_MESSAGES_BACK)
    return [
        *(Feed(t, reader, one_by_one(curves.add_record)) for t, reader in zip(forecasts, readers, strict=True)),
        Feed(Topic.OBSERVATIONS, observations, together(series.add)),
    ]
