"""Feature rows of a backtest on Spark, for use cases of many entities; the rest is in ``models.backtest``."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

from dualcast.features.plan import FeaturePlan
from dualcast.observations.frames import in_canonical_order
from models.backtest.rows import RowMaker

_TIME = pa.timestamp("us", "UTC")
_LIST = pa.list_(pa.float64())
_READ = ["entity_id", "variable", "valid_time", "resolution", "value", "unit", "published_at"]
_SPARK_TYPES = {
    pa.string(): "string",
    _TIME: "timestamp",
    pa.date32(): "date",
    pa.float64(): "double",
    _LIST: "array<double>",
}


@dataclass(frozen=True)
class SparkRows:
    """Runs a RowMaker on entities in parallel; the result equals that of ``models.backtest.rows.one_by_one``."""

    spark: SparkSession

    def __call__(self, maker: RowMaker, observations: pd.DataFrame) -> pd.DataFrame:
        """The rows of all entities, ordered by entity."""
        read = observations[[name for name in _READ if name in observations]]
        schema, target = _schema(maker), maker.use_case.target

        def rows_of(key: tuple[pa.Scalar, ...], found: pa.Table) -> pa.Table:
            made = maker(key[0].as_py(), in_canonical_order(found.to_pandas(), target))
            return pa.Table.from_pandas(made, schema=schema, preserve_index=False)

        there = self.spark.createDataFrame(pa.Table.from_pandas(read, preserve_index=False))
        types = ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]}" for field in schema)
        made = there.groupBy("entity_id").applyInArrow(
            lambda key, found: rows_of(key, found),  # noqa: PLW0108 -- Spark would read the type hints of ``rows_of``, and fail
            types,
        )
        rows: pd.DataFrame = made.toArrow().to_pandas()
        return rows.sort_values("entity_id", kind="stable", ignore_index=True)


def _schema(maker: RowMaker) -> pa.Schema:
    """The Arrow schema of a RowMaker's rows."""
    plan = FeaturePlan.of(maker.use_case, maker.path)
    times = ["valid_time", "event_timestamp"]
    times += ["cutoff", "newest_input_at"] if maker.path == "day-ahead" else []
    lists = set(plan.per_target) if maker.path == "intraday" else set()
    return pa.schema(
        [
            ("entity_id", pa.string()),
            *((name, _TIME) for name in times),
            ("delivery_day", pa.date32()),
            *((name, _LIST if name in lists else pa.float64()) for name in plan.names),
        ]
    )
