"""Archive of the stream in the lake: intraday feature rows (``gold_intraday``) and curves, by issue date.

The widths of future intervals are computed from it (``interval_factors``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import structlog
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.incremental import drain, kafka_stream
from batch.forecasts.stored_curves import ENCODED, store_curves
from batch.lake.gold_intraday import archive_features
from batch.runs.day_ahead import DayAheadJob
from dualcast.adapters.feature_store import apply_definitions
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError, check_key
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import UseCase
from dualcast.curves.arrow import encoded_curves
from dualcast.curves.forecast import Forecast
from dualcast.records import Topic
from dualcast.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Archiving:
    """Decodes messages to curves in Spark workers."""

    settings: Settings
    use_case: UseCase
    curves: Accumulator[int]

    def decode(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Kafka rows to encoded curves of this use case, with their offsets."""
        decoder = Decoder(self.settings, Topic.FORECASTS_INTRADAY)
        for batch in batches:
            for message in batch.to_pylist():
                curve = _curve(decoder, message)
                if curve is not None and curve.use_case == self.use_case.use_case:
                    self.curves.add(1)
                    offset = pa.array([message["offset"]], pa.int64())
                    columns = encoded_curves([curve]).columns
                    names = ["entity_id", "issued_at", "curve", "offset"]
                    yield pa.RecordBatch.from_arrays([*columns, offset], names=names)


def archive_stream(job: DayAheadJob) -> None:
    """Add new feature rows and curves of the stream to the lake, and apply the feature store's definitions.

    Once a local day this also updates the widths of intraday intervals. Raises RegistryUnavailableError.
    """
    with job.writing():
        job.ingest()
        with job.steps.step("gold intraday") as report:
            report(f"{archive_features(job.spark, job.settings, job.use_case):,} feature rows")
        with job.steps.step("intraday curves") as report:
            report(f"{archive_curves(job.spark, job.settings, job.use_case):,} curves")
        with job.steps.step("feature store") as report:
            apply_definitions(job.settings, job.use_case.use_case)
            report(f"definitions of {job.use_case.use_case} applied")
        with job.steps.step("intraday intervals") as report:
            from batch.forecasts.interval_factors import update_interval_factors  # noqa: PLC0415 -- workers do not need models to decode

            report(f"new factors of {update_interval_factors(job.spark, job.settings, job.use_case):,} entities")


def archive_curves(spark: SparkSession, settings: Settings, use_case: UseCase) -> int:
    """Add the topic's new curves to the lake, and return their number. Of one issue time, the newest curve is kept."""
    lake = lake_paths(settings)
    archiving = _Archiving(settings, use_case, spark.sparkContext.accumulator(0))
    table = lake.forecasts("intraday", use_case.use_case)

    def handle(batch: DataFrame, number: int) -> None:  # noqa: ARG001 -- curves are replaced by key
        arrived = batch.mapInArrow(archiving.decode, f"{ENCODED}, offset bigint")
        curves = arrived.groupBy("entity_id", "issued_at").agg(F.max_by("curve", "offset").alias("curve"))
        store_curves(curves, use_case.part("intraday").quantiles, table)

    stream = kafka_stream(spark, settings, Topic.FORECASTS_INTRADAY)
    drain(stream, f"{lake.checkpoints}/forecasts_intraday/{use_case.use_case}", handle)
    return int(archiving.curves.value)


def _curve(decoder: Decoder, message: dict[str, Any]) -> Forecast | None:
    """The curve of a Kafka row; None where it cannot be decoded."""
    try:
        record = decoder.record(message["value"])
        check_key(message["key"], record["entity_id"])
    except DecodingError as fault:
        _log.warning("undecodable curve", offset=message["offset"], error=str(fault))
        return None
    return Forecast.from_record(record)
