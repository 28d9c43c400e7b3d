"""The Flink job on the embedded stack: its speed on years of history, and the time from a live value to its forecast.

Five bidding zones of simulated values. The peer in backfill is the same job around a function that returns each
message; that of a live value is a message read directly from the broker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pandas as pd
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks import feature_job
from benchmarks.embedded import Embedded
from benchmarks.feature_job import IDENTITY, OURS, Cost, Messages
from benchmarks.results import Row
from benchmarks.serving import register_model, trained_model, wait_until_ready
from dualcast.adapters.feature_store import OnlineFeatures, apply_definitions
from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.offsets import Offsets
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import UseCase
from dualcast.lifecycle.registered_model import model_name
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor
from streaming.ingest.messages import messages
from streaming.ingest.sources import open_source

_ZONES, _YEARS = 5, 4
_EVENTS, _PAUSE_SECONDS = 400, 0.05
_LOOK_SECONDS, _PATIENCE_SECONDS = 0.0005, 60.0
_WARM_UP = 20

# Milliseconds, p50 and p99.
_Latency = tuple[float, float]


@dataclass(frozen=True)
class _History:
    """The messages of some years until now, and the target's last value as a frame of one row."""

    past: Messages
    newest: pd.DataFrame
    observations: int
    rows: int


def measure() -> list[Row]:
    """Backfill and live figures, and their peers."""
    with feature_job.zones(_ZONES) as (stack, settings, use_case):
        history = _history(settings, use_case)
        feature_job.send(settings, history.past)
        with feature_job.job(IDENTITY) as job:
            identity = feature_job.catch_up(settings, job, len(history.past), lambda _: 1)
        with feature_job.job(OURS) as job:
            ours = feature_job.catch_up(settings, job, history.rows)
            _serve(stack, use_case)
            features, forecasts = _live(settings, use_case, history.newest)
        broker = _through_broker(settings, history.newest)
    count, cpu, wall = history.observations * ours.share, _ratio(identity, ours, "cpu"), _ratio(identity, ours, "wall")
    return [
        Row("Flink job, backfill", count / ours.cpu, "observations/CPU-s", cpu),
        Row("Flink job, backfill", count / ours.wall, "observations/s", wall),
        Row("Flink job, feature rows of backfill", ours.rows * ours.share / ours.cpu, "rows/CPU-s", cpu),
        Row(f"Flink job, {_YEARS} years of {_ZONES} zones after start", ours.wall / ours.share, "s", 1 / wall),
        Row("live value to features in Redis, p50", features[0], "ms", features[0] / broker[0]),
        Row("live value to features in Redis, p99", features[1], "ms", features[1] / broker[1]),
        Row("live value to forecast on its topic, p50", forecasts[0], "ms", forecasts[0] / broker[0]),
        Row("live value to forecast on its topic, p99", forecasts[1], "ms", forecasts[1] / broker[1]),
    ]


def _ratio(peer: Cost, ours: Cost, name: str) -> float:
    return float((getattr(peer, name) / peer.share) / (getattr(ours, name) / ours.share))


def _history(settings: Settings, use_case: UseCase) -> _History:
    """The years of one simulated zone until now, for each zone."""
    now = floor(datetime.now(UTC), use_case.grid)
    one = use_case.model_copy(update={"entities": use_case.entities[:1]})
    past = open_source(one, None, None).observations(now - timedelta(days=365 * _YEARS), now)
    target = past[past["variable"] == use_case.target]
    encoded = feature_job.for_each_zone(settings, use_case, past)
    return _History(encoded, target.tail(1), len(past) * _ZONES, len(target) * _ZONES)


def _serve(stack: Embedded, use_case: UseCase) -> None:
    """Start id-svc with a champion, so that it publishes curves."""
    settings = stack.start("mlflow")
    register_model(settings, use_case, trained_model(use_case), model_name(use_case.use_case, "intraday"))
    apply_definitions(settings, use_case.use_case)
    wait_until_ready(f"{stack.start('id-svc').id_svc}/health/ready")


def _live(settings: Settings, use_case: UseCase, newest: pd.DataFrame) -> tuple[_Latency, _Latency]:
    """Latency from sending a value until its row can be read, and until its forecast is on its topic."""
    online, forecasts = OnlineFeatures(settings, use_case.use_case), Decoder(settings, Topic.FORECASTS_INTRADAY)
    until_row, until_forecast = [], []
    with _producer(settings) as producer, _tail(settings, Topic.FORECASTS_INTRADAY) as consumer:
        for published_at, entity_id, value in _revisions(settings, newest):
            begin = time.perf_counter()
            producer.produce(Topic.OBSERVATIONS.value, value, entity_id)
            producer.poll(0)
            while (row := online.read([entity_id])[entity_id]) is None or row.as_of < published_at:
                if time.perf_counter() - begin > _PATIENCE_SECONDS:
                    raise RuntimeError("no row was made of a live value")
                time.sleep(_LOOK_SECONDS)
            until_row.append(time.perf_counter() - begin)
            while forecasts.record(_next(consumer))["newest_input_at"] < published_at:
                pass
            until_forecast.append(time.perf_counter() - begin)
    return _latency(until_row), _latency(until_forecast)


def _through_broker(settings: Settings, newest: pd.DataFrame) -> _Latency:
    """Latency from sending a message until a consumer has it."""
    seconds = []
    with _producer(settings) as producer, _tail(settings, Topic.DEAD_LETTERS) as consumer:
        for _, key, value in _revisions(settings, newest):
            begin = time.perf_counter()
            producer.produce(Topic.DEAD_LETTERS.value, value, key)
            producer.poll(0)
            _next(consumer)
            seconds.append(time.perf_counter() - begin)
    return _latency(seconds)


def _revisions(settings: Settings, newest: pd.DataFrame) -> Iterator[tuple[datetime, str, bytes]]:
    """Revisions of the newest value, one after another: time of publication (now), key and message."""
    codec, dtype = Encoder(settings, Topic.OBSERVATIONS), newest["published_at"].dtype
    for number in range(1, _EVENTS + 1):
        time.sleep(_PAUSE_SECONDS)
        now = datetime.now(UTC)
        revised = newest.assign(published_at=pd.Timestamp(now), value=newest["value"] * (1 + number / 1e5))
        (part,) = messages(revised.astype({"published_at": dtype}), 1)
        yield now, part.entity_id, codec.encode(part)


@contextmanager
def _producer(settings: Settings) -> Iterator[Producer]:
    """A producer that sends each message immediately."""
    producer = Producer(connection(settings) | {"linger.ms": 0})
    yield producer
    producer.flush(_PATIENCE_SECONDS)


@contextmanager
def _tail(settings: Settings, topic: Topic) -> Iterator[Consumer]:
    """A consumer of the messages that are written to a topic from now on."""
    consumer = Consumer(connection(settings) | {"group.id": str(uuid4())})
    ends = Offsets(settings).ends(topic)
    consumer.assign([TopicPartition(topic.value, p, end) for p, end in ends.items()])
    try:
        yield consumer
    finally:
        consumer.close()


def _next(consumer: Consumer) -> bytes:
    message = consumer.poll(_PATIENCE_SECONDS)
    value = message.value() if message is not None else None
    if value is None:
        raise RuntimeError(f"no message arrived within {_PATIENCE_SECONDS:.0f} s")
    return bytes(value)


def _latency(seconds: Sequence[float]) -> _Latency:
    p50, p99 = np.percentile(np.array(seconds[_WARM_UP:]) * 1e3, [50, 99])
    return float(p50), float(p99)
