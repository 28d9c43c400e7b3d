"""Work on what came since the last run: a stream that is read to its present end and then stops.

How far a job has come lies in its checkpoint, beside the tables that it fills. A batch that was cut short comes again
with the same number, so what it writes must depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.sql import DataFrame, SparkSession

from dualcast.records import Topic
from dualcast.settings import Settings

_MESSAGES_PER_BATCH = 50_000
# Kafka partitions are split into this many tasks: one entity's messages all lie in one partition.
_TASKS_PER_CORE = 2


def kafka_stream(spark: SparkSession, settings: Settings, topic: Topic) -> DataFrame:
    """All committed messages of a topic: key, value, topic, partition, offset."""
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", topic.value)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", _MESSAGES_PER_BATCH)
        .option("minPartitions", _TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
        .load()
        .select("key", "value", "topic", "partition", "offset")
    )


def drain(stream: DataFrame, checkpoint: str, handle: Callable[[DataFrame, int], None]) -> None:
    """Give ``handle(batch, number)`` all that came since the checkpoint; return when there is no more."""
    query = (
        stream.writeStream.option("checkpointLocation", checkpoint)
        .foreachBatch(handle)
        .trigger(availableNow=True)
        .start()
    )
    try:
        query.awaitTermination()
    finally:
        query.stop()


def append_once(rows: DataFrame, table: str, number: int, *, partition_by: Sequence[str] = (), **options: str) -> None:
    """Append a batch to a Delta table; a batch of the same stream and number that is already there is left alone.

    ``options`` are Delta's properties of a new table.
    """
    writer = rows.write.format("delta").mode("append").partitionBy(*partition_by).options(**options)
    writer.option("txnAppId", stream_id(rows)).option("txnVersion", number).save(table)


def stream_id(batch: DataFrame) -> str:
    """The id of the stream that a batch belongs to, which lives as long as its checkpoint."""
    return str(batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))
