"""Work on what came since the last run: a stream that is read to its present end and then stops.

How far a job has come lies in its checkpoint, beside the tables that it fills. A batch that was cut short comes again
with the same number, so what it writes must depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from dualcast.records import Topic
from dualcast.settings import Settings

_MESSAGES_PER_BATCH = 50_000
# Kafka partitions are split into this many tasks: one entity's messages all lie in one partition.
_TASKS_PER_CORE = 2
# A broker that is away is given up after so long; Kafka wants a request to end before the call that it belongs to.
_CALL_MILLISECONDS, _REQUEST_MILLISECONDS = 20_000, 15_000
_AWAY = ("TimeoutException", "DisconnectException", "BrokerNotAvailableException")


def kafka_stream(
    spark: SparkSession, settings: Settings, topic: Topic, per_batch: int = _MESSAGES_PER_BATCH
) -> DataFrame:
    """All committed messages of a topic: key, value, topic, partition, offset; at most so many in a batch."""
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
    """Give ``handle(batch, number)`` all that came since the checkpoint; return when there is no more.

    Raises ConnectionError where the broker does not answer.
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
        if any(f"org.apache.kafka.common.errors.{name}" in str(error) for name in _AWAY):
            raise ConnectionError("Kafka does not answer; is it running?") from error
        raise
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
