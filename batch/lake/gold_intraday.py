"""Gold, intraday: the stream's feature rows with the actuals of their horizons, in Parquet by month of the origin.

Each run reads the new messages of the topic. Spark shuffles undecoded messages to the months of their rows, since
decoding rows of hundreds of numbers before the shuffle is expensive; the worker of a month and entity decodes them
and writes the file. A file is replaced as a whole and holds each row once, so a repeated run changes nothing.
Later runs add actuals that were unknown before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from numpy.typing import NDArray
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.incremental import drain, kafka_stream
from batch.engine.partitions import read_file, replace_file
from batch.lake.gold_day_ahead import silver_version
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError, check_key
from dualcast.adapters.lake import lake_paths
from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.features.rows import FeatureRows
from dualcast.observations.actuals import target_values
from dualcast.records import Topic
from dualcast.settings import Settings

_log = structlog.get_logger(__name__)
_TIME = pa.timestamp("us", "UTC")
_TIMES = ("valid_time", "as_of")
_LIST = pa.list_(pa.float64())
_ROUTED = "entity_id string, month string, valid_time timestamp, message binary"
_MONTH = "yyyy-MM"
# A backfill message holds about a thousand rows.
_MESSAGES_PER_BATCH = 2_000


@dataclass(frozen=True)
class _Archiving:
    """Routes, gathers and writes feature rows in Spark workers."""

    settings: Settings
    use_case: UseCase
    feature_set: str
    data_version: str
    rows: Accumulator[int]

    @cached_property
    def widths(self) -> dict[str, int]:
        """The number of values of each feature in a row."""
        return FeaturePlan.of(self.use_case, "intraday").widths(self.use_case.part("intraday").horizons)

    def route(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages of this use case and its current feature set, once for each month, with the first origin in it."""
        for batch in batches:
            found = list(self._routed(batch))
            columns = zip(*found, strict=True) if found else ([], [], [], [])
            types = pa.string(), pa.string(), _TIME, pa.binary()
            arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=["entity_id", "month", "valid_time", "message"])

    def _routed(self, batch: pa.RecordBatch) -> Iterator[tuple[str, str, int, bytes]]:
        decoder = Decoder(self.settings, Topic.FEATURES_INTRADAY)
        for key, message in zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True):
            try:
                rows = decoder.feature_rows(message)
                check_key(key, rows.entity_id)
            except DecodingError as fault:
                _log.warning("undecodable feature rows", error=str(fault))
                continue
            if rows.use_case == self.use_case.use_case and rows.feature_set == self.feature_set:
                if {name: values.shape[1] for name, values in rows.features.items()} != self.widths:
                    _log.warning("feature rows do not match their feature set", entity=rows.entity_id)
                    continue
                self.rows.add(len(rows))
                months, first = np.unique(_months(rows.valid_time), return_index=True)
                for month, origin in zip(months.tolist(), rows.valid_time[first].tolist(), strict=True):
                    yield rows.entity_id, month, origin, message

    def write(self, key: tuple[pa.Scalar, ...], new: pa.Table, target: pa.Table) -> pa.Table:
        """Write the file of one entity and month: stored rows, new rows and all known actuals."""
        entity_id, month = (scalar.as_py() for scalar in key)
        folder = f"{lake_paths(self.settings).gold_of('intraday', self.use_case.use_case)}/month={month}"
        arrived = self._of_month(new["message"].to_pylist(), month)
        rows = pa.concat_tables([self._stored(f"{folder}/{entity_id}.parquet"), arrived])
        if rows.num_rows:
            replace_file(f"{folder}/{entity_id}.parquet", self._completed(rows, target.to_pandas()))
        return pa.table({"rows": [rows.num_rows]})

    def _stored(self, file: str) -> pa.Table:
        """The stored rows of the current feature set."""
        schema, table = _row_schema(self.use_case), read_file(file)
        if table is None:
            return schema.empty_table()
        rows = table.filter(pc.equal(table["feature_set"], self.feature_set))
        return rows.select(schema.names).cast(schema) if rows.num_rows else schema.empty_table()

    def _of_month(self, messages: list[bytes], month: str) -> pa.Table:
        """The rows of messages with an origin in a month."""
        decoder = Decoder(self.settings, Topic.FEATURES_INTRADAY)
        arrived = [decoder.feature_rows(message) for message in messages]
        wanted = [_months(rows.valid_time) == month for rows in arrived]

        def joined(values: Callable[[FeatureRows], NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate([values(rows)[mine] for rows, mine in zip(arrived, wanted, strict=True)])

        def column(field: pa.Field) -> pa.Array:
            if field.name in self.widths:
                return _column(joined(lambda rows: rows.features[field.name]), field.type)
            if field.name in _TIMES:
                return pa.array(joined(lambda rows: getattr(rows, field.name)), field.type)
            return pa.array(joined(lambda rows: np.repeat(getattr(rows, field.name), len(rows))), field.type)

        schema = _row_schema(self.use_case)
        if not arrived:
            return schema.empty_table()
        return pa.table([column(field) for field in schema], schema=schema)

    def _completed(self, rows: pa.Table, target: pd.DataFrame) -> pa.Table:
        """Each row once, sorted, with its actuals."""
        keys = rows.select(["valid_time", "as_of"]).to_pandas()
        keys = keys.drop_duplicates(keep="last").sort_values(["valid_time", "as_of"])
        kept = rows.take(pa.array(keys.index))
        actuals = self._actuals(keys["valid_time"], target)
        offsets = pa.array(np.arange(len(keys) + 1) * actuals.shape[1], pa.int32())
        return (
            kept.append_column("event_timestamp", kept["as_of"])
            .append_column("actuals", pa.ListArray.from_arrays(offsets, actuals.ravel()))
            .append_column("data_version", pa.array([self.data_version] * len(keys), pa.string()))
        )

    def _actuals(self, origins: pd.Series, target: pd.DataFrame) -> NDArray[np.float64]:
        """(rows, horizons): the target at each horizon, NaN where it is not known yet."""
        part = self.use_case.part("intraday")
        if target.empty:
            return np.full((len(origins), part.horizons), np.nan)
        actuals = target_values(self.use_case, target, part.resolution)
        steps = pd.to_timedelta([part.resolution * k for k in range(part.horizons)]).to_numpy()
        times = np.add.outer(origins.dt.tz_convert(None).to_numpy(), steps).astype("datetime64[us]")
        wanted = pd.DatetimeIndex(times.ravel(), tz="UTC")
        return np.asarray(actuals.reindex(wanted), dtype=np.float64).reshape(times.shape)


def archive_features(spark: SparkSession, settings: Settings, use_case: UseCase) -> int:
    """Add the topic's new feature rows to Gold, and return their number. Needs Silver."""
    lake = lake_paths(settings)
    version = f"silver@{silver_version(settings)}"
    archiving = _Archiving(settings, use_case, feature_set(use_case), version, spark.sparkContext.accumulator(0))

    def handle(batch: DataFrame, number: int) -> None:  # noqa: ARG001 -- rows are replaced by key
        rows = batch.mapInArrow(archiving.route, _ROUTED).persist()
        months = _touched(rows, use_case)
        if months:
            targets = _targets(spark, archiving, months).groupBy("entity_id", "month")
            gathered = rows.groupBy("entity_id", "month").cogroup(targets)
            written = gathered.applyInArrow(
                lambda key, new, target: archiving.write(key, new, target),  # noqa: PLW0108 -- Spark would count ``self``
                "rows bigint",
            )
            written.collect()
        rows.unpersist()

    stream = kafka_stream(spark, settings, Topic.FEATURES_INTRADAY, _MESSAGES_PER_BATCH)
    drain(stream, f"{lake.checkpoints}/gold_intraday/{use_case.use_case}", handle)
    return int(archiving.rows.value)


def _months(times: NDArray[np.int64]) -> NDArray[np.str_]:
    """The months of times in microseconds, as 2022-03."""
    return np.datetime_as_string(times.astype("datetime64[us]").astype("datetime64[M]"))


def _column(values: Floats, kind: pa.DataType) -> pa.Array:
    """The values of one feature, (n, 1) or (n, horizons), as numbers or lists."""
    flat = pa.array(values.ravel())
    if kind == pa.float64():
        return flat
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32()), flat)


def _touched(rows: DataFrame, use_case: UseCase) -> list[str]:
    """The months of new rows, and of earlier rows whose actuals have become known since."""
    span = use_case.part("intraday").horizons * use_case.part("intraday").resolution
    before = F.date_format(F.min("valid_time") - span, _MONTH)
    found = rows.agg(F.collect_set("month").alias("months"), before.alias("before")).first()
    assert found is not None
    return sorted({*found.months, found.before}) if found.months else []


def _targets(spark: SparkSession, archiving: _Archiving, months: list[str]) -> DataFrame:
    """The target's vintages, once for each month with rows that need them."""
    use_case, lake = archiving.use_case, lake_paths(archiving.settings)
    span = use_case.part("intraday").horizons * use_case.part("intraday").resolution
    months_of = [F.date_format("valid_time", _MONTH), F.date_format(F.col("valid_time") - span, _MONTH)]
    begin = datetime.fromisoformat(f"{months[0]}-01T00:00:00+00:00")
    return (
        spark.read.format("delta")
        .load(lake.silver)
        .where((F.col("use_case") == use_case.use_case) & (F.col("variable") == use_case.target))
        .where(F.col("valid_time") >= begin)
        .withColumn("month", F.explode(F.array_distinct(F.array(*months_of))))
        .where(F.col("month").isin(months))
        .select("entity_id", "month", "variable", "valid_time", "published_at", "value")
    )


def _row_schema(use_case: UseCase) -> pa.Schema:
    """Feature rows: a double for each feature per origin, a list for each feature per target."""
    plan = FeaturePlan.of(use_case, "intraday")
    per_origin = set(plan.per_origin)
    features = [(name, pa.float64() if name in per_origin else _LIST) for name in plan.names]
    head = [("entity_id", pa.string()), ("valid_time", _TIME), ("as_of", _TIME), ("feature_set", pa.string())]
    return pa.schema([*head, *features])
