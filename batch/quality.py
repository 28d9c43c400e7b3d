"""Quality gates: Great Expectations suites on Silver and Gold.

What fails goes to quarantine, the verdict is stored as JSON and as text, and a failed suite stops what depends on it.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

import fsspec
import pandas as pd
from opentelemetry import metrics
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.quarantine import quarantine_folder, write_refused
from dualcast.adapters.lake import LakePaths, lake_paths
from dualcast.catalogue import UseCase
from dualcast.cleaning import VINTAGE
from dualcast.settings import Settings

_OUTSIDE = "outside_bounds"
_SILVER_KEY = ["entity_id", *VINTAGE]
# a curve of several days overlaps with those of the days before
_GOLD_KEY = ["entity_id", "valid_time", "event_timestamp"]
# The first days of a history have no past to look at, and of the entities of one day some may have failed.
_SCALED = 0.5


class QualityError(RuntimeError):
    """A suite failed: what depends on its table must not run."""


@dataclass(frozen=True)
class Verdict:
    """What a suite said."""

    suite: str
    success: bool
    lines: tuple[str, ...]


def check_silver(spark: SparkSession, settings: Settings, use_case: UseCase, since: datetime | None = None) -> Verdict:
    """Check Silver, or what of it was published since a moment. Raises QualityError where the suite fails."""
    rows = spark.read.format("delta").load(lake_paths(settings).silver).where(F.col("use_case") == use_case.use_case)
    if since is not None:
        rows = rows.where(F.col("published_at") >= since)
    return _gate(
        settings, use_case, "silver", _SILVER_KEY, rows.withColumn(_OUTSIDE, _excess(use_case)), _silver(use_case)
    )


def check_gold(spark: SparkSession, settings: Settings, use_case: UseCase, days: Sequence[date] = ()) -> Verdict:
    """Check the day-ahead Gold rows of some delivery days, or of all. Raises QualityError where the suite fails."""
    rows = spark.read.parquet(lake_paths(settings).gold_of("day-ahead", use_case.use_case))
    if days:
        rows = rows.where(F.col("delivery_day").isin(list(days)))
    return _gate(settings, use_case, "gold_day_ahead", _GOLD_KEY, rows, _gold(use_case, days))


def _silver(use_case: UseCase) -> list[Any]:
    gxe = _expectations()
    return [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in (*_SILVER_KEY, "value")),
        gxe.ExpectColumnValuesToBeInSet(column="entity_id", value_set=[e.id for e in use_case.entities]),
        gxe.ExpectColumnValuesToBeInSet(column="variable", value_set=list(use_case.variables)),
        gxe.ExpectColumnValuesToBeBetween(column=_OUTSIDE, max_value=0),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=_SILVER_KEY),
    ]


def _gold(use_case: UseCase, days: Sequence[date]) -> list[Any]:
    gxe = _expectations()
    whole = sum(len(use_case.delivery_times(entity, day)) for entity in use_case.entities for day in days) or None
    scale = use_case.day_ahead.scale
    return [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in (*_GOLD_KEY, "newest_input_at")),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=_GOLD_KEY),
        gxe.ExpectTableRowCountToBeBetween(min_value=1, max_value=whole),
        # nothing was used that was published at or after the cutoff, and delivery comes after it
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="event_timestamp", column_B="newest_input_at"),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="valid_time", column_B="event_timestamp"),
        *([gxe.ExpectColumnValuesToNotBeNull(column=scale, mostly=_SCALED)] if scale else []),
    ]


def _expectations() -> Any:
    """The module of expectations, imported as ``context`` wants it."""
    context()
    from great_expectations import expectations  # noqa: PLC0415 -- takes seconds

    return expectations


def _excess(use_case: UseCase) -> Column:
    """How far a value lies outside its variable's bounds; 0 inside."""
    low = _by_variable({n: v.bounds.min for n, v in use_case.variables.items()}, float("-inf"))
    high = _by_variable({n: v.bounds.max for n, v in use_case.variables.items()}, float("inf"))
    return F.greatest(low - F.col("value"), F.col("value") - high, F.lit(0.0))


def _by_variable(limits: dict[str, float | None], otherwise: float) -> Column:
    known = [part for name, limit in limits.items() if limit is not None for part in (F.lit(name), F.lit(float(limit)))]
    if not known:
        return F.lit(otherwise)
    return F.coalesce(F.element_at(F.create_map(*known), F.col("variable")), F.lit(otherwise))


def _gate(
    settings: Settings, use_case: UseCase, suite: str, key: list[str], rows: DataFrame, expectations: list[Any]
) -> Verdict:
    now, lake = settings.clock.now(), lake_paths(settings)
    rows = rows.persist()
    try:
        result = _validate(suite, rows, expectations, {"result_format": "BASIC"})
        if not result.success:
            complete = {"result_format": "COMPLETE", "unexpected_index_column_names": key}
            result = _validate(suite, rows, expectations, complete)
            folder = quarantine_folder(lake, use_case.use_case, suite, f"{now:%Y%m%dT%H%M%S%f}")
            _quarantine(folder, result, now)
    finally:
        rows.unpersist()
    verdict = Verdict(suite, bool(result.success), tuple(_line(found) for found in result.results))
    _store(lake, use_case, verdict, result, now)
    outcome: dict[str, str | bool] = {"use_case": use_case.use_case, "suite": suite, "success": verdict.success}
    metrics.get_meter(__name__).create_counter("dualcast.batch.suites").add(1, outcome)
    if not verdict.success:
        raise QualityError(f"{suite}: " + "; ".join(line for line in verdict.lines if line.startswith("failed")))
    return verdict


@cache
def context() -> Any:
    """The process's Great Expectations, in memory, silent towards its makers."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx  # noqa: PLC0415 -- takes seconds, and reads what is set above

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = {"globally": False}
    made.data_sources.add_spark("lake", persist=False)
    return made


def _validate(suite: str, rows: DataFrame, expectations: list[Any], result_format: dict[str, Any]) -> Any:
    source = context().data_sources.get("lake")
    import great_expectations as gx  # noqa: PLC0415 -- imported by now

    if suite not in source.get_asset_names():
        source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
    batch = source.get_asset(suite).get_batch_definition("all").get_batch({"dataframe": rows})
    return batch.validate(gx.ExpectationSuite(suite, expectations=expectations), result_format=result_format)


def _line(found: Any) -> str:
    config = found.expectation_config
    about = {k: v for k, v in config.kwargs.items() if k.startswith(("column", "min", "max", "mostly"))}
    count = found.result.get("unexpected_count", "")
    verdict = "passed" if found.success else f"failed ({count or found.result.get('observed_value', 'error')})"
    return f"{verdict}: {config.type} {json.dumps(about, default=str)}"


def _quarantine(folder: str, result: Any, now: datetime) -> None:
    """Write the keys of the rows that broke an expectation."""
    refused = [
        {**key, "reason": found.expectation_config.type}
        for found in result.results
        if not found.success
        for key in found.result.get("unexpected_index_list") or []
    ]
    if refused:
        write_refused(folder, "rows", pd.DataFrame(refused), now)


def _store(lake: LakePaths, use_case: UseCase, verdict: Verdict, result: Any, now: datetime) -> None:
    name = f"{lake.quality}/use_case={use_case.use_case}/{verdict.suite}/{now:%Y%m%dT%H%M%S%f}"
    head = f"{verdict.suite}: {'passed' if verdict.success else 'FAILED'} at {now.isoformat()}"
    texts = {
        ".json": json.dumps(result.to_json_dict(), indent=1, default=str),
        ".txt": "\n".join([head, *verdict.lines, ""]),
    }
    for suffix, text in texts.items():
        with fsspec.open(name + suffix, "w", auto_mkdir=True) as file:
            file.write(text)
