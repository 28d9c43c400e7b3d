"""Facts of curves for their quality gate: computed in Spark workers, then compared with past curves on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualcast.adapters.lake import lake_paths
from dualcast.arrays import Floats, Ints
from dualcast.catalogue import MEDIAN, UseCase
from dualcast.curves.arrow import row_schema, row_table
from dualcast.curves.quantiles import quantile_column
from dualcast.settings import Settings
from dualcast.timegrid import delivery_slots

# The columns of ``curve_facts``, in Spark's notation.
FACTS = (
    "delivery_day date, rows bigint, expected_rows bigint, quantiles_cross bigint, level_ratio double, "
    "ramp_ratio double, width double"
)
_ARROW = {"date": pa.date32(), "bigint": pa.int64(), "double": pa.float64()}
ARROW_FACTS = pa.schema([(name, _ARROW[kind]) for name, kind in (column.split() for column in FACTS.split(", "))])
# The median width needs at least so many curves.
_FEWEST = 7


def curve_facts(use_case: UseCase, curves: pa.RecordBatch, rows: pd.DataFrame) -> pd.DataFrame:
    """One row of facts for each encoded curve, in order; ``rows`` are their Gold rows."""
    ends = np.cumsum(pc.list_value_length(pc.struct_field(curves["curve"], "valid_time")))
    levels = pc.struct_field(curves["curve"], "quantile_levels")[0].as_py() if len(ends) else [MEDIAN]
    points = row_table(curves, levels)
    values = np.column_stack([points[quantile_column(level)] for level in levels])
    level, ramp = _shape(values[:, levels.index(MEDIAN)], ends)
    before = _week_before(rows)
    keys = pd.MultiIndex.from_arrays([curves["entity_id"].to_pandas(), curves["issued_at"].to_pandas()])
    made_of = before.iloc[before.index.get_indexer(keys)]
    found = pd.DataFrame(
        {
            "entity_id": curves["entity_id"].to_pandas(),
            "delivery_day": made_of["delivery_day"].to_numpy(),
            "rows": np.diff(ends, prepend=0),
            "quantiles_cross": _sums((np.diff(values, axis=1) < 0).any(axis=1).astype(np.int64), ends),
            "level_ratio": _ratio(level, made_of["level"].to_numpy()),
            "ramp_ratio": _ratio(ramp, made_of["ramp"].to_numpy()),
            "width": _sums(values[:, -1] - values[:, 0], ends) / np.diff(ends, prepend=0),
        }
    )
    found["expected_rows"] = expected_rows(use_case, found)
    return found[ARROW_FACTS.names]


def _week_before(rows: pd.DataFrame) -> pd.DataFrame:
    """delivery_day, and level and ramp of the actuals a week before, by entity_id and cutoff."""
    ordered = rows.sort_values(["entity_id", "cutoff", "valid_time"], kind="stable")
    last = ~ordered.duplicated(["entity_id", "cutoff"], keep="last")
    level, ramp = _shape(ordered["actual_week_before"].to_numpy(), np.flatnonzero(last) + 1)
    heads = ordered.loc[last, ["entity_id", "cutoff", "delivery_day"]].assign(level=level, ramp=ramp)
    return heads.assign(cutoff=heads["cutoff"].dt.as_unit("us")).set_index(["entity_id", "cutoff"])


def _shape(values: Floats, ends: Ints) -> tuple[Floats, Floats]:
    """The mean and the largest step of each run of values, which ``ends`` delimits; NaN where a value is unknown."""
    steps = np.append(np.abs(np.diff(values)), 0.0)[: len(values)]
    steps[ends - 1] = 0.0
    begins = _begins(ends)
    return _sums(values, ends) / np.diff(ends, prepend=0), np.maximum.reduceat(steps, begins)


def _sums(values: Any, ends: Ints) -> Any:
    return np.add.reduceat(values, _begins(ends))


def _begins(ends: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), ends))[:-1] if len(ends) else ends


def expected_rows(use_case: UseCase, days: pd.DataFrame) -> list[int]:
    """The number of intervals of each entity_id and delivery_day."""
    zones, part = {entity.id: entity.time_zone for entity in use_case.entities}, use_case.day_ahead
    length = cache(lambda day, zone: len(delivery_slots(day, zone, part.resolution, part.days)))
    return [length(day, zones[e]) for e, day in zip(days["entity_id"], days["delivery_day"], strict=True)]


def with_width_ratio(facts: pd.DataFrame, settings: Settings, use_case: UseCase) -> pd.DataFrame:
    """Add ``width_ratio``: the width of a curve to the median width of its entity's earlier curves."""
    usual = _median_widths(settings, use_case, facts["issued_at"].min()) if len(facts) else pd.Series(dtype=np.float64)
    width = facts["entity_id"].map(usual).astype("float64")
    return facts.assign(width_ratio=(facts["width"] / width.where(width > 0)))


def _median_widths(settings: Settings, use_case: UseCase, before: datetime) -> pd.Series:
    """The median width of stored curves by entity_id; the width is the mean distance of the outermost quantiles."""
    part = use_case.day_ahead
    low, high = quantile_column(part.quantiles[0]), quantile_column(part.quantiles[-1])
    files = _stored_since(settings, use_case, before - part.quality.usual, before)
    if not files:
        return pd.Series(dtype=np.float64)
    schema = row_schema(part.quantiles)  # older files lack the columns of levels added since
    rows = ds.dataset(files, schema, filesystem=fsspec.core.url_to_fs(settings.lake_uri)[0]).to_table(
        columns=["entity_id", "issued_at", low, high], filter=ds.field("issued_at") < before
    )
    rows = rows.append_column("width", pc.subtract(rows[high], rows[low]))
    curves = rows.group_by(["entity_id", "issued_at"]).aggregate([("width", "mean")]).to_pandas()
    widths = curves.groupby("entity_id")["width_mean"].agg(["median", "size"])
    return widths.loc[widths["size"] >= _FEWEST, "median"]


def _stored_since(settings: Settings, use_case: UseCase, first: datetime, last: datetime) -> Sequence[str]:
    """The files of curves with an issue date in a range."""
    filesystem, folder = fsspec.core.url_to_fs(lake_paths(settings).forecasts("day-ahead", use_case.use_case))
    dates = {f"issue_date={(first + timedelta(days=n)).date()}" for n in range((last - first).days + 2)}
    files = filesystem.glob(f"{folder}/issue_date=*/*.parquet")
    return sorted(file for file in files if file.split("/")[-2] in dates)


def _ratio(value: Floats, base: Floats) -> Floats:
    """NaN where the base is unknown or not positive."""
    ratio: Floats = value / np.where(base > 0, base, np.nan)
    return ratio
