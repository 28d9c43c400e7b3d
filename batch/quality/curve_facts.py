"""What is measured about a curve before it is published, in the worker that made it and then against its past."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import UseCase
from dualcast.features.registry import Floats
from dualcast.records import Forecast, quantile_column
from dualcast.settings import Settings
from dualcast.timegrid import delivery_slots

# The columns of ``measured``, as Spark has them.
FACTS = (
    "delivery_day date, rows bigint, expected_rows bigint, quantiles_cross bigint, level_ratio double, "
    "ramp_ratio double, width double"
)
_ARROW = {"date": pa.date32(), "bigint": pa.int64(), "double": pa.float64()}
ARROW_FACTS = pa.schema([(name, _ARROW[kind]) for name, kind in (column.split() for column in FACTS.split(", "))])
# Of fewer curves than this there is no usual width.
_FEWEST = 7


def measured(use_case: UseCase, forecasts: Iterable[Forecast], rows: pd.DataFrame) -> pd.DataFrame:
    """A row of facts for each curve, in their order; ``rows`` are the Gold rows that they were made of."""
    past = {key: curve.sort_values("valid_time") for key, curve in rows.groupby(["entity_id", "cutoff"])}
    facts = []
    for forecast in forecasts:
        made_of = past[forecast.entity_id, pd.Timestamp(forecast.issued_at)]
        compared = _compared(forecast, made_of["actual_week_before"])
        facts.append((forecast.entity_id, made_of["delivery_day"].iloc[0], len(forecast.points), *compared))
    columns = ["entity_id", "delivery_day", "rows", "quantiles_cross", "level_ratio", "ramp_ratio", "width"]
    found = pd.DataFrame(facts, columns=columns)
    found["expected_rows"] = expected_rows(use_case, found)
    return found[ARROW_FACTS.names]


def expected_rows(use_case: UseCase, days: pd.DataFrame) -> list[int]:
    """How many intervals each of some entity_id and delivery_day has."""
    zones, part = {entity.id: entity.time_zone for entity in use_case.entities}, use_case.day_ahead
    length = cache(lambda day, zone: len(delivery_slots(day, zone, part.resolution, part.days)))
    return [length(day, zones[e]) for e, day in zip(days["entity_id"], days["delivery_day"], strict=True)]


def _compared(forecast: Forecast, actual_week_before: pd.Series) -> tuple[int, float, float, float]:
    """Points whose quantiles cross, level and ramp against a week before (NaN where a value is not known), width."""
    values, before = np.array([point.values for point in forecast.points]), actual_week_before.to_numpy()
    middle = values[:, forecast.quantile_levels.index(0.5)]
    crossing = int((np.diff(values, axis=1) < 0).any(axis=1).sum())
    ramp = _ratio(_steepest(middle), _steepest(before))
    return crossing, _ratio(middle.mean(), before.mean()), ramp, float(np.mean(values[:, -1] - values[:, 0]))


def _steepest(values: Floats) -> float:
    return float(np.abs(np.diff(values)).max(initial=0.0))


def against_the_usual(facts: pd.DataFrame, settings: Settings, use_case: UseCase) -> pd.DataFrame:
    """Add ``width_ratio``: a curve's width to the median of its entity's curves issued in the time before the first."""
    usual = _usual_widths(settings, use_case, facts["issued_at"].min()) if len(facts) else pd.Series(dtype=np.float64)
    width = facts["entity_id"].map(usual).astype("float64")
    return facts.assign(width_ratio=(facts["width"] / width.where(width > 0)))


def _usual_widths(settings: Settings, use_case: UseCase, before: datetime) -> pd.Series:
    """entity_id -> the median over its stored curves of the mean distance of the outermost quantiles."""
    part = use_case.day_ahead
    low, high = quantile_column(part.quantiles[0]), quantile_column(part.quantiles[-1])
    files = _stored_since(settings, use_case, before - part.quality.usual, before)
    if not files:
        return pd.Series(dtype=np.float64)
    rows = ds.dataset(files, filesystem=fsspec.core.url_to_fs(settings.lake_uri)[0]).to_table(
        columns=["entity_id", "issued_at", low, high], filter=ds.field("issued_at") < before
    )
    rows = rows.append_column("width", pc.subtract(rows[high], rows[low]))
    curves = rows.group_by(["entity_id", "issued_at"]).aggregate([("width", "mean")]).to_pandas()
    widths = curves.groupby("entity_id")["width_mean"].agg(["median", "size"])
    return widths.loc[widths["size"] >= _FEWEST, "median"]


def _stored_since(settings: Settings, use_case: UseCase, first: datetime, last: datetime) -> Sequence[str]:
    """The files of the stored curves of some issue dates."""
    filesystem, folder = fsspec.core.url_to_fs(lake_paths(settings).forecasts("day-ahead", use_case.use_case))
    dates = {f"issue_date={(first + timedelta(days=n)).date()}" for n in range((last - first).days + 2)}
    files = filesystem.glob(f"{folder}/issue_date=*/*.parquet")
    return sorted(file for file in files if file.split("/")[-2] in dates)


def _ratio(value: float, yardstick: float) -> float:
    return float(value / yardstick) if yardstick > 0 else float("nan")
