"""Bronze: all observations of Kafka, unchanged and exactly once, in a Delta table.

Messages that cannot be decoded go to the dead letters and are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry import metrics
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.incremental import append_once, drain, kafka_stream
from dualcast.adapters.kafka.dead_letters import Refused, dead_letter
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError, ObservationMessage, check_key
from dualcast.adapters.lake import lake_paths
from dualcast.records import Topic
from dualcast.settings import Settings

_COMPONENT = "batch.lake.bronze"
_TIME = pa.timestamp("us", "UTC")
_FIELDS = [
    ("topic", pa.string()),
    ("partition", pa.int32()),
    ("offset", pa.int64()),
    ("position", pa.int32()),
    ("entity_id", pa.string()),
    ("variable", pa.string()),
    ("valid_time", _TIME),
    ("resolution", pa.string()),
    ("value", pa.float64()),
    ("unit", pa.string()),
    ("published_at", _TIME),
    ("source", pa.string()),
    ("simulated", pa.bool_()),
]
_SCHEMA = pa.schema(_FIELDS)
_SPARK_SCHEMA = (
    "topic string, partition int, offset bigint, position int, entity_id string, variable string, "
    "valid_time timestamp, resolution string, value double, unit string, published_at timestamp, source string, "
    "simulated boolean"
)
# Bronze is always read as a whole, so column statistics are not needed.
_TABLE_OPTIONS = {"delta.dataSkippingNumIndexedCols": "0"}


@dataclass(frozen=True)
class Taken:
    """The number of messages and observations of a run; a retried task counts twice."""

    observations: int
    undecodable: int


@dataclass(frozen=True)
class _Decoding:
    """Decodes messages in a Spark worker."""

    settings: Settings
    now: datetime
    observations: Accumulator[int]
    undecodable: Accumulator[int]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        decoder, producer = Decoder(self.settings, Topic.OBSERVATIONS), _DeadLetterProducer(self.settings, self.now)
        for batch in batches:
            for message in batch.to_pylist():
                try:
                    observed = decoder.columns(message["value"])
                    check_key(message["key"], observed.entity_id)
                except DecodingError as fault:
                    producer.send(message, fault)
                    self.undecodable.add(1)
                else:
                    self.observations.add(len(observed.columns.value))
                    yield _rows(message, observed)
        producer.close()


class _DeadLetterProducer:
    """Sends Kafka rows to the dead letters. Connects at the first one."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self._settings = settings
        self._now = now
        self._producer: RecordProducer | None = None

    def send(self, message: dict[str, Any], fault: DecodingError) -> None:
        """Queue the dead letter of a Kafka row."""
        if self._producer is None:
            self._producer = RecordProducer(self._settings, _COMPONENT)
        topic = self._settings.names.plain_topic(message["topic"])
        refused = Refused(**message | {"topic": topic})
        letter = dead_letter(refused, fault.reason, fault.detail, _COMPONENT, self._now)
        self._producer.send(Topic.DEAD_LETTERS, (refused.key or b"").decode(errors="replace"), letter, self._now)

    def close(self) -> None:
        """Wait for the broker. Raises DeliveryError."""
        if self._producer is not None:
            self._producer.close()


def ingest(spark: SparkSession, settings: Settings) -> Taken:
    """Append all observations since the last run, up to the end of the topic, and return their number."""
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


def _rows(message: dict[str, Any], observed: ObservationMessage) -> pa.RecordBatch:
    """One message as Bronze rows."""
    columns = observed.columns
    count = len(columns.value)
    arrays: dict[str, Any] = {
        **{name: [message[name]] * count for name in ("topic", "partition", "offset")},
        "position": np.arange(count, dtype=np.int32),
        "entity_id": [observed.entity_id] * count,
        **{field.name: getattr(columns, field.name) for field in fields(columns)},
        "source": observed.sources(),
        "simulated": observed.simulated(),
    }
    return pa.RecordBatch.from_arrays([pa.array(arrays[name], kind) for name, kind in _FIELDS], schema=_SCHEMA)
