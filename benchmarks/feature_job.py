"""The Flink job of the intraday path on simulated bidding zones, and what it costs to catch up with their history.

CPU time is that of the job's processes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pandas as pd
import psutil
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.embedded import Embedded, embedded
from benchmarks.zones import load_zones, use_case_folder
from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings
from streaming.ingest.messages import messages
from streaming.ingest.replay import MOST_IN_HISTORY
from streaming.job.caught_up import ends_of

OURS = [str(Path(sys.executable).with_name("dualcast")), "stream", "features"]
IDENTITY = [sys.executable, "-m", "benchmarks.identity_program"]
_PATIENCE_SECONDS = 600.0
_SAMPLE_SECONDS, _QUIET_SECONDS = 0.2, 5.0

# Key and value of Kafka messages.
Messages = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Cost:
    """What it took a job to write its rows.

    wall and cpu are the seconds since its first message, and ``share`` the part of all that they were for; start is the
    seconds of its processors until then.
    """

    wall: float
    cpu: float
    share: float
    rows: int
    start: float


@dataclass(frozen=True)
class _Sample:
    """What a job has done by a moment: seconds of its processors, and messages on the topic of features."""

    at: float
    cpu: float
    messages: int


@contextmanager
def zones(count: int) -> Iterator[tuple[Embedded, Settings, UseCase]]:
    """Broker, registry and Redis with all topics, for a use case of several zones."""
    with use_case_folder(count) as folder, embedded(folder) as stack:
        settings = stack.start("kafka", "registry", "redis")
        create_topics(settings)
        yield stack, settings, load_zones(folder)


def for_each_zone(settings: Settings, use_case: UseCase, observations: pd.DataFrame) -> list[tuple[str, bytes]]:
    """The observations of one zone as big messages, for every zone in turn."""
    codec = Encoder(settings, Topic.OBSERVATIONS)
    parts = list(messages(observations, MOST_IN_HISTORY))
    found = [(e.id, codec.encode(type(part)(e.id, part.columns))) for part in parts for e in use_case.entities]
    codec.close()
    return found


def send(settings: Settings, sent: Messages) -> None:
    """Put messages on the observations' topic. Raises RuntimeError where the broker does not take them."""
    producer = Producer(connection(settings) | {"compression.type": "lz4", "message.max.bytes": 2**23})
    for key, value in sent:
        producer.produce(Topic.OBSERVATIONS.value, value, key)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the broker did not take the history")


@contextmanager
def job(command: Sequence[str]) -> Iterator[psutil.Process]:
    """A job, killed afterwards."""
    log = Path(os.environ["DUALCAST_STATE_DIR"]) / "job.log"
    with log.open("ab") as output:
        started = psutil.Popen(command, stdout=output, stderr=output)
    try:
        yield started
    finally:
        for process in [*started.children(recursive=True), started]:
            process.kill()
        started.wait()


def catch_up(
    settings: Settings, running: psutil.Process, expected: int, rows_in: Callable[[bytes], int] | None = None
) -> Cost:
    """What it costs a job to write about so many rows; ``rows_in`` says how many a message has.

    Raises RuntimeError where it does not get there.
    """
    # what is committed moves by the checkpoint, every ten seconds
    reading = {"group.id": str(uuid4()), "isolation.level": "read_uncommitted", "enable.partition.eof": True}
    consumer = Consumer(connection(settings) | reading)
    admin = AdminClient(connection(settings))
    before = ends_of(admin, Topic.FEATURES_INTRADAY)
    samples: list[_Sample] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _is_quiet(samples):
        if time.monotonic() > deadline or not running.is_running():
            raise RuntimeError(f"the job did not catch up: {samples[-1:]}")
        messages = sum(ends_of(admin, Topic.FEATURES_INTRADAY).values()) - sum(before.values())
        sample = _Sample(time.monotonic(), _cpu_seconds(running), messages)
        if sample.messages:
            samples.append(sample)
        time.sleep(_SAMPLE_SECONDS)
    rows = sum(map(rows_in or _rows_in(settings), _values(consumer, before)))
    consumer.close()
    if rows < 0.99 * expected:
        raise RuntimeError(f"the job made {rows} of {expected} rows")
    most = samples[-1].messages
    first, last = samples[0], next(s for s in samples if s.messages > 0.999 * most)
    return Cost(last.at - first.at, last.cpu - first.cpu, 1 - first.messages / most, rows, first.cpu)


def _rows_in(settings: Settings) -> Callable[[bytes], int]:
    decoder = Decoder(settings, Topic.FEATURES_INTRADAY)
    return lambda message: len(decoder.feature_rows(message))


def _values(consumer: Consumer, starts: Mapping[int, int]) -> Iterator[bytes]:
    """All messages of the topic of features behind some offsets."""
    consumer.assign([TopicPartition(Topic.FEATURES_INTRADAY.value, p, start) for p, start in starts.items()])
    behind = set(starts)
    while behind:
        for message in consumer.consume(500, 1.0):
            if message.error() is None:
                yield message.value() or b""
            elif message.error().code() == KafkaError._PARTITION_EOF:
                behind.discard(message.partition())
            else:
                raise RuntimeError(str(message.error()))


def _is_quiet(samples: Sequence[_Sample]) -> bool:
    """Whether nothing has come for a while."""
    quiet = [s for s in samples if s.at > samples[-1].at - _QUIET_SECONDS]
    return len(quiet) < len(samples) and quiet[0].messages == samples[-1].messages


def _cpu_seconds(running: psutil.Process) -> float:
    times = [process.cpu_times() for process in [running, *running.children(recursive=True)]]
    return float(sum(t.user + t.system for t in times))
