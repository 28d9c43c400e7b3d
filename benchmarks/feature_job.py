"""The Flink job of the intraday path on simulated bidding zones, and the cost of catching up with their history.

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

from benchmarks.embedded import Embedded, embedded
from benchmarks.zones import load_zones, use_case_folder
from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.offsets import Offsets
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings
from streaming.ingest.messages import messages
from streaming.ingest.replay import MOST_IN_HISTORY

OURS = [str(Path(sys.executable).with_name("dualcast")), "stream", "features"]
IDENTITY = [sys.executable, "-m", "benchmarks.identity_program"]
_PATIENCE_SECONDS = 600.0
_SAMPLE_SECONDS, _QUIET_SECONDS = 0.2, 5.0

# Key and value of Kafka messages.
Messages = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Cost:
    """What a job needed to write its rows.

    wall and cpu: seconds since its first message; share: the part of all rows that was written in them;
    start: CPU seconds before the first message.
    """

    wall: float
    cpu: float
    share: float
    rows: int
    start: float


@dataclass(frozen=True)
class _Sample:
    """The state of a job at a moment: its CPU seconds, and the number of messages on the features topic."""

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
    """The observations of one zone as large messages, repeated for every zone."""
    codec = Encoder(settings, Topic.OBSERVATIONS)
    parts = list(messages(observations, MOST_IN_HISTORY))
    found = [(e.id, codec.encode(type(part)(e.id, part.columns))) for part in parts for e in use_case.entities]
    codec.close()
    return found


def send(settings: Settings, sent: Messages) -> None:
    """Publish messages on the observations topic. Raises RuntimeError if the broker does not accept them in time."""
    producer = Producer(connection(settings) | {"compression.type": "lz4", "message.max.bytes": 2**23})
    for key, value in sent:
        producer.produce(Topic.OBSERVATIONS.value, value, key)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the broker did not accept the history in time")


@contextmanager
def job(command: Sequence[str]) -> Iterator[psutil.Process]:
    """Run a job and kill it afterwards."""
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
    """Wait until a job has written about so many rows, and return the cost; ``rows_in`` counts the rows of a message.

    Raises RuntimeError if it does not write them in time.
    """
    # committed messages appear only with each checkpoint, every ten seconds
    reading = {"group.id": str(uuid4()), "isolation.level": "read_uncommitted", "enable.partition.eof": True}
    consumer = Consumer(connection(settings) | reading)
    offsets = Offsets(settings)
    before = offsets.ends(Topic.FEATURES_INTRADAY)
    samples: list[_Sample] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _is_quiet(samples):
        if time.monotonic() > deadline or not running.is_running():
            raise RuntimeError(f"the job did not catch up: {samples[-1:]}")
        messages = sum(offsets.ends(Topic.FEATURES_INTRADAY).values()) - sum(before.values())
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
    """The values of all messages on the features topic from some offsets on."""
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
    """Whether no message has arrived for some seconds."""
    quiet = [s for s in samples if s.at > samples[-1].at - _QUIET_SECONDS]
    return len(quiet) < len(samples) and quiet[0].messages == samples[-1].messages


def _cpu_seconds(running: psutil.Process) -> float:
    times = [process.cpu_times() for process in [running, *running.children(recursive=True)]]
    return float(sum(t.user + t.system for t in times))
