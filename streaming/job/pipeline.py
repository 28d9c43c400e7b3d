"""The job's dataflow in Flink: Kafka table, keyed function, Kafka table."""

from __future__ import annotations

from pyflink.common import JobClient
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from dualcast.records import Topic
from dualcast.settings import Settings
from streaming.job.function import INPUT, OUTPUT
from streaming.job.internals import keyed_in_jvm
from streaming.job.step import COMPONENT

_LARGEST_REQUEST = 10 * 2**20
_TRANSACTION_MILLISECONDS = 600_000

_SOURCE = """
CREATE TABLE observations (
  `key` BYTES, `value` BYTES,
  `partition` INT NOT NULL METADATA VIRTUAL,
  `offset` BIGINT NOT NULL METADATA VIRTUAL,
  `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
  'properties.group.id' = '{group}', 'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'key.format' = 'raw', 'key.fields' = 'key', 'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY'
)"""

_PAIRS = """
SELECT COALESCE(DECODE(`key`, 'UTF-8'), ''),
       ROW(`key`, `value`, `partition`, `offset`, DECODE(`headers`['traceparent'], 'UTF-8'))
FROM observations"""

_SINK = """
CREATE TABLE records (
  `topic` STRING NOT NULL METADATA,
  `headers` MAP<STRING NOT NULL, BYTES> METADATA,
  `key` BYTES, `value` BYTES
) WITH (
  'connector' = 'kafka', 'topic' = '{topics}', 'properties.bootstrap.servers' = '{kafka}',
  'key.format' = 'raw', 'key.fields' = 'key', 'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY',
  'sink.delivery-guarantee' = '{guarantee}', 'sink.transactional-id-prefix' = '{group}',
  'properties.transaction.timeout.ms' = '{transaction}',
  'properties.max.request.size' = '{largest}', 'properties.compression.type' = 'lz4', 'properties.linger.ms' = '1',
  'properties.batch.size' = '262144'
)"""

_RECORDS = """
INSERT INTO records
SELECT {topic},
       MAP['ce_specversion', ENCODE('1.0', 'UTF-8'), 'ce_type', ENCODE('dualcast.' || topic, 'UTF-8'),
           'ce_source', ENCODE('{source}', 'UTF-8'), 'ce_id', ENCODE(origin || '-' || CAST(number AS STRING), 'UTF-8'),
           'content-type', ENCODE('application/avro', 'UTF-8'), 'traceparent', ENCODE(traceparent, 'UTF-8')],
       ENCODE(entity_id, 'UTF-8'), record
FROM made CROSS JOIN UNNEST(records) WITH ORDINALITY AS parts (record, number)"""


def start(
    env: StreamExecutionEnvironment,
    settings: Settings,
    function: KeyedProcessFunction,
    *,
    group: str,
    exactly_once: bool,
) -> JobClient:
    """Build the job around a function from INPUT to OUTPUT, and start it.

    ``group`` is its consumer group and the prefix of its transactions.
    """
    tables = StreamTableEnvironment.create(env)
    tables.execute_sql(
        _SOURCE.format(topic=settings.names.topic(Topic.OBSERVATIONS), kafka=settings.kafka, group=group)
    )
    tables.execute_sql(
        _SINK.format(
            topics=";".join(map(settings.names.topic, (Topic.FEATURES_INTRADAY, Topic.DEAD_LETTERS))),
            kafka=settings.kafka,
            guarantee="exactly-once" if exactly_once else "at-least-once",
            group=group,
            transaction=_TRANSACTION_MILLISECONDS,
            largest=_LARGEST_REQUEST,
        )
    )
    pairs = tables.to_data_stream(tables.sql_query(_PAIRS))
    made = keyed_in_jvm(pairs, INPUT).process(function, OUTPUT)
    made.name("intraday features").uid("intraday-features")
    made.disable_chaining()  # a separate thread sends rows while Python processes the next message
    tables.create_temporary_view("made", tables.from_data_stream(made))
    client = tables.execute_sql(_RECORDS.format(source=COMPONENT, topic=_prefixed(settings))).get_job_client()
    assert client is not None
    return client


def _prefixed(settings: Settings) -> str:
    """SQL for the name on the broker of a plain topic."""
    return f"'{settings.names.prefix}' || topic" if settings.namespace else "topic"
