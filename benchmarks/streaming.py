"""The Flink job on the embedded stack: how fast it catches up with years, and how soon a live value is a feature.

Five bidding zones of simulated values. CPU time is that of the job's processes, from its first row until all are on
their topic. The peer in backfill is the same job around a function that hands each message on; that of a live value is
a message read straight from the broker.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
import psutil
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from benchmarks.results import Row
from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka import Codec, create_topics
from dualcast.catalogue import UseCase, load_use_case
from dualcast.records import Topic
from dualcast.settings import Settings, load_settings
from infra.local import stack as embedded
from infra.local.state import StateDir
from streaming.ingest.messages import messages
from streaming.ingest.replay import MOST_IN_HISTORY
from streaming.ingest.sources import open_source

_ZONES, _YEARS = 5, 4
_FIRST = datetime(2019, 1, 1, tzinfo=UTC)
_EVENTS, _PAUSE_SECONDS = 400, 0.05
_PATIENCE_SECONDS = 600.0
_SAMPLE_SECONDS, _LOOK_SECONDS, _QUIET_SECONDS = 0.2, 0.0005, 5.0
_WARM_UP, _ROW_SECONDS = 20, 60.0
_OURS = [str(Path(sys.executable).with_name("dualcast")), "stream", "features"]
_IDENTITY = [sys.executable, "-m", "benchmarks.identity_program"]


@dataclass(frozen=True)
class _History:
    """The messages of some years, and those that come after them one by one."""

    past: list[tuple[str, bytes]]
    live: list[tuple[str, bytes]]
    observations: int
    rows: int


@dataclass(frozen=True)
class _Sample:
    """What a job has done by a moment: seconds of its processors, and records on the topic of features."""

    at: float
    cpu: float
    records: int


@dataclass(frozen=True)
class _Cost:
    """Seconds on the wall and of the job's processors, the share of all records that they were for, and these."""

    wall: float
    cpu: float
    share: float
    records: int


def measure() -> list[Row]:
    """Backfill and live figures, and their peers."""
    with _stack() as (settings, use_case):
        history = _history(settings, use_case)
        _send(settings, history.past)
        with _job(_IDENTITY) as job:
            identity = _catch_up(settings, job, len(history.past))
        with _job(_OURS) as job:
            ours = _catch_up(settings, job, history.rows)
            live = _latencies(settings, use_case, history.live)
        broker = _through_broker(settings, history.live)
    count, cpu, wall = history.observations * ours.share, _ratio(identity, ours, "cpu"), _ratio(identity, ours, "wall")
    return [
        Row("Flink job, backfill", count / ours.cpu, "observations/CPU-s", cpu),
        Row("Flink job, backfill", count / ours.wall, "observations/s", wall),
        Row("Flink job, feature rows of backfill", ours.records * ours.share / ours.cpu, "rows/CPU-s", cpu),
        Row(f"Flink job, {_YEARS} years of {_ZONES} zones after start", ours.wall / ours.share, "s", 1 / wall),
        Row("live value to features in Redis, p50", live[0], "ms", live[0] / broker[0]),
        Row("live value to features in Redis, p99", live[1], "ms", live[1] / broker[1]),
    ]


def _ratio(peer: _Cost, ours: _Cost, name: str) -> float:
    return float((getattr(peer, name) / peer.share) / (getattr(ours, name) / ours.share))


@contextmanager
def _stack() -> Iterator[tuple[Settings, UseCase]]:
    """Broker, registry and Redis with all topics, for a use case of several zones."""
    with TemporaryDirectory(prefix="dualcast-bench-") as folder:
        state = StateDir(Path(folder) / "state")
        root = Path(__file__).parent.parent / "use_cases"
        definition = yaml.safe_load((root / "de_load.yaml").read_text(encoding="utf-8"))
        definition["entities"] = [definition["entities"][0] | {"id": f"Z{n}"} for n in range(_ZONES)]
        for name in ("replay", "sources"):  # they name the one zone
            definition.pop(name, None)
        (Path(folder) / "de_load.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
        os.environ |= {"DUALCAST_STATE_DIR": str(state.root), "DUALCAST_USE_CASES": folder}
        try:
            embedded.start(state, ("kafka", "registry", "redis"), console=Console(stderr=True))
            settings = load_settings()
            create_topics(settings)
            yield settings, load_use_case("de_load", Path(folder))
        finally:
            embedded.stop(state)


def _history(settings: Settings, use_case: UseCase) -> _History:
    """The years of one simulated zone, for each zone."""
    one = use_case.model_copy(update={"entities": use_case.entities[:1]})
    end = _FIRST + timedelta(days=365 * _YEARS)
    frame = open_source(one, None, None).observations(_FIRST, end + timedelta(days=2))
    past = frame[frame["published_at"] <= end]
    later = frame[(frame["published_at"] > end) & (frame["variable"] == use_case.target)]
    codec = Codec(settings, Topic.OBSERVATIONS)
    first = use_case.entities[0].id
    chunks = [(first, part) for part in messages(past, MOST_IN_HISTORY)]
    bodies = [
        (entity.id, codec.encode(type(part)(entity.id, part.columns)))
        for _, part in chunks
        for entity in use_case.entities
    ]
    live = [(first, codec.encode(part)) for part in messages(later.head(_EVENTS), 1)]
    zones = len(use_case.entities)
    return _History(bodies, live, len(past) * zones, int((past["variable"] == use_case.target).sum()) * zones)


def _send(settings: Settings, sent: Sequence[tuple[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "compression.type": "lz4", "message.max.bytes": 2**23})
    for key, value in sent:
        producer.produce(Topic.OBSERVATIONS.value, value, key)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the broker did not take the history")


@contextmanager
def _job(command: Sequence[str]) -> Iterator[psutil.Process]:
    log = Path(os.environ["DUALCAST_STATE_DIR"]) / "job.log"
    with log.open("ab") as output:
        job = psutil.Popen(command, stdout=output, stderr=output)
    try:
        yield job
    finally:
        for process in [*job.children(recursive=True), job]:
            process.kill()
        job.wait()


def _catch_up(settings: Settings, job: psutil.Process, expected: int) -> _Cost:
    """What it costs a job to write about so many records, from the first on."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": str(uuid4())})
    before = _end(consumer)
    samples: list[_Sample] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _is_done(samples, expected):
        if time.monotonic() > deadline or not job.is_running():
            raise RuntimeError(f"the job did not catch up: {samples[-1:]} of {expected}")
        sample = _Sample(time.monotonic(), _cpu_seconds(job), _end(consumer) - before)
        if sample.records:
            samples.append(sample)
        time.sleep(_SAMPLE_SECONDS)
    consumer.close()
    most = samples[-1].records
    first, last = samples[0], next(s for s in samples if s.records > 0.999 * most)
    return _Cost(last.at - first.at, last.cpu - first.cpu, 1 - first.records / most, most)


def _is_done(samples: Sequence[_Sample], expected: int) -> bool:
    if not samples or samples[-1].records < 0.99 * expected:
        return False
    quiet = [s for s in samples if s.at > samples[-1].at - _QUIET_SECONDS]
    return len(quiet) < len(samples) and quiet[0].records > 0.999 * samples[-1].records


def _end(consumer: Consumer) -> int:
    topic = Topic.FEATURES_INTRADAY.value
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions)


def _cpu_seconds(job: psutil.Process) -> float:
    times = [process.cpu_times() for process in [job, *job.children(recursive=True)]]
    return float(sum(t.user + t.system for t in times))


def _latencies(settings: Settings, use_case: UseCase, live: Sequence[tuple[str, bytes]]) -> tuple[float, float]:
    """Milliseconds from when a value is sent to when its row can be read: p50 and p99."""
    online, entity_id = OnlineFeatures(settings, use_case.use_case), live[0][0]
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 0})

    def newest() -> datetime | None:
        row = online.read([entity_id])[entity_id]
        return row.valid_time if row is not None else None

    seconds = []
    for _, value in live:
        time.sleep(_PAUSE_SECONDS)
        before, begin = newest(), time.perf_counter()
        producer.produce(Topic.OBSERVATIONS.value, value, entity_id)
        producer.poll(0)
        while newest() == before:
            if time.perf_counter() - begin > _ROW_SECONDS:
                raise RuntimeError("a live value made no row")
            time.sleep(_LOOK_SECONDS)
        seconds.append(time.perf_counter() - begin)
    return _milliseconds(seconds[_WARM_UP:])


def _through_broker(settings: Settings, live: Sequence[tuple[str, bytes]]) -> tuple[float, float]:
    """Milliseconds from when a message is sent to when a consumer has it: p50 and p99."""
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": str(uuid4())})
    topic = Topic.DEAD_LETTERS.value
    consumer.assign([TopicPartition(topic, 0, consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])])
    seconds = []
    for _, value in live:
        time.sleep(_PAUSE_SECONDS)
        begin = time.perf_counter()
        producer.produce(topic, value, partition=0)
        producer.poll(0)
        if consumer.poll(_QUIET_SECONDS) is None:
            raise RuntimeError("a message did not come back")
        seconds.append(time.perf_counter() - begin)
    consumer.close()
    return _milliseconds(seconds[_WARM_UP:])


def _milliseconds(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return float(p50), float(p99)
