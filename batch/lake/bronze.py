"""Bronze: every observation as it came from Kafka, each exactly once, in a Delta table.

Messages that cannot be decoded go to the dead letters and are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from opentelemetry import metrics
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.incremental import append_once, drain, kafka_stream
from dualcast.adapters.kafka.clients import RecordProducer
from dualcast.adapters.kafka.records import UndecodableError, decoded
from dualcast.adapters.lake import lake_paths
from dualcast.records import DeadLetter, Topic
from dualcast.settings import Settings

_COMPONENT = "batch.lake.bronze"
_TIME = pa.timestamp("us", "UTC")
_VALUE_FIELDS = [
    ("variable", pa.string()),
    ("valid_time", _TIME),
    ("resolution", pa.string()),
    ("value", pa.float64()),
    ("unit", pa.string()),
    ("published_at", _TIME),
    ("source", pa.string()),
    ("simulated", pa.bool_()),
]
_SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("position", pa.int32()),
        ("entity_id", pa.string()),
        *_VALUE_FIELDS,
    ]
)
_SPARK_SCHEMA = (
    "topic string, partition int, offset bigint, position int, entity_id string, variable string, "
    "valid_time timestamp, resolution string, value double, unit string, published_at timestamp, source string, "
    "simulated boolean"
)
# Bronze is read from one end to the other, never searched: statistics would only cost.
_TABLE_OPTIONS = {"delta.dataSkippingNumIndexedCols": "0"}


@dataclass(frozen=True)
class Taken:
    """How much a run took in; a task that was tried twice counts twice."""

    observations: int
    undecodable: int


@dataclass(frozen=True)
class _Decoding:
    """What a worker needs to decode messages: shipped to it whole."""

    settings: Settings
    now: datetime
    observations: Accumulator[int]
    undecodable: Accumulator[int]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        graveyard: RecordProducer | None = None
        for message, record in decoded(batches, self.settings.registry, Topic.OBSERVATIONS):
            if isinstance(record, UndecodableError):
                graveyard = graveyard or RecordProducer(self.settings, _COMPONENT)
                self._bury(graveyard, message, record)
                self.undecodable.add(1)
            else:
                self.observations.add(len(record["observations"]))
                yield _rows(message, record)
        if graveyard is not None:
            graveyard.flush()

    def _bury(self, graveyard: RecordProducer, message: dict[str, Any], fault: UndecodableError) -> None:
        where = message["topic"], message["partition"], message["offset"]
        letter = DeadLetter(fault.reason, str(fault), _COMPONENT, *where, self.now, message["key"], message["value"])
        graveyard.send(Topic.DEAD_LETTERS, (message["key"] or b"").decode(errors="replace"), letter, self.now)


def ingest(spark: SparkSession, settings: Settings) -> Taken:
    """Append all observations that came since the last run; return how many, when the end of the topic is reached."""
    lake, now = lake_paths(settings), settings.clock.now()
    context = spark.sparkContext
    decode = _Decoding(settings, now, context.accumulator(0), context.accumulator(0))

    def handle(batch: DataFrame, number: int) -> None:
        rows = batch.mapInArrow(decode, _SPARK_SCHEMA).withColumn("ingested_at", F.lit(now))
        append_once(rows, lake.bronze, number, **_TABLE_OPTIONS)

    drain(kafka_stream(spark, settings, Topic.OBSERVATIONS), f"{lake.checkpoints}/bronze", handle)
    counter = metrics.get_meter(__name__).create_counter("dualcast.batch.dead_letters")
    counter.add(decode.undecodable.value, {"topic": Topic.OBSERVATIONS.value})
    return Taken(decode.observations.value, decode.undecodable.value)


def _rows(message: dict[str, Any], record: dict[str, Any]) -> pa.RecordBatch:
    """One message as columns."""
    observations = record["observations"]
    count = len(observations)
    columns = [
        pa.array([message["topic"]] * count, pa.string()),
        pa.array([message["partition"]] * count, pa.int32()),
        pa.array([message["offset"]] * count, pa.int64()),
        pa.array(range(count), pa.int32()),
        pa.array([record["entity_id"]] * count, pa.string()),
        *(pa.array([o[name] for o in observations], kind) for name, kind in _VALUE_FIELDS),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
