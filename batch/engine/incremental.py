"""Incremental jobs: each run reads a topic from where the last one ended to its current end.

Progress is stored in a checkpoint beside the tables that a job fills. An interrupted batch is repeated with the same
number and content, so writes must be idempotent by that number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from dualcast.records import Topic
from dualcast.settings import Settings

_MESSAGES_PER_BATCH = 50_000
# Kafka partitions are split into this many tasks: all messages of an entity are in one partition.
_TASKS_PER_CORE = 2
# Timeouts for an unavailable broker. Kafka requires that of a request to be shorter than that of its call.
_CALL_MILLISECONDS, _REQUEST_MILLISECONDS = 20_000, 15_000
_UNAVAILABLE = ("TimeoutException", "DisconnectException", "BrokerNotAvailableException")


def kafka_stream(
    spark: SparkSession, settings: Settings, topic: Topic, per_batch: int = _MESSAGES_PER_BATCH
) -> DataFrame:
    """All committed messages of a topic: key, value, topic, partition, offset; at most ``per_batch`` in a batch."""
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka)
        .option("kafka.isolation.level", "read_committed")
        .option("kafka.default.api.timeout.ms", _CALL_MILLISECONDS)
        .option("kafka.request.timeout.ms", _REQUEST_MILLISECONDS)
        .option("kafkaConsumer.pollTimeoutMs", _CALL_MILLISECONDS)
        .option("subscribe", settings.names.topic(topic))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", per_batch)
        .option("minPartitions", _TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
        .load()
        .select("key", "value", "topic", "partition", "offset")
    )


def drain(stream: DataFrame, checkpoint: str, handle: Callable[[DataFrame, int], None]) -> None:
    """Call ``handle(batch, number)`` with all messages since the checkpoint, and return at the end of the topic.

    Raises ConnectionError where the broker is unavailable.
    """
    query = (
        stream.writeStream.option("checkpointLocation", checkpoint)
        .foreachBatch(handle)
        .trigger(availableNow=True)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException as error:
        if any(f"org.apache.kafka.common.errors.{name}" in str(error) for name in _UNAVAILABLE):
            raise ConnectionError("Kafka is unavailable; is it running?") from error
        raise
    finally:
        query.stop()


def append_once(rows: DataFrame, table: str, number: int, *, partition_by: Sequence[str] = (), **options: str) -> None:
    """Append a batch to a Delta table; skip a batch that the table has already, by stream and number.

    ``options`` are Delta's properties of a new table.
    """
    writer = rows.write.format("delta").mode("append").partitionBy(*partition_by).options(**options)
    writer.option("txnAppId", stream_id(rows)).option("txnVersion", number).save(table)


def stream_id(batch: DataFrame) -> str:
    """The id of a batch's stream, which stays the same for a checkpoint."""
    return str(batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))
