"""Files of forecasts and of actuals. A forecast file that breaks a rule is refused rather than scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import MEDIAN, Path_, UseCase
from dualcast.curves.quantiles import quantile_column, quantile_columns

_KEYS = ["entity_id", "issued_at", "valid_time"]


class FaultyForecastsError(ValueError):
    """Forecasts break a rule of forecast files, or no actual is known for any of them."""


def read_forecasts(files: Sequence[Path], use_case: UseCase, path: Path_) -> pd.DataFrame:
    """Forecasts in long form, as ``forecast_frame`` writes them. Raises FaultyForecastsError.

    There must be a column for the median and each bound of the path's interval. Of other levels than the median, curves
    may have no value.
    """
    frame = pd.concat([_read(file) for file in files], ignore_index=True)
    missing = {*_KEYS, *map(quantile_column, use_case.part(path).shown_levels)} - set(frame)
    if missing:
        raise FaultyForecastsError(f"the forecasts lack the columns {', '.join(sorted(missing))}")
    if "use_case" in frame:
        frame = frame[frame["use_case"] == use_case.use_case]
    for column in ("issued_at", "valid_time"):
        frame = frame.assign(**{column: _aware(frame[column], column)})
    quantiles = frame[quantile_columns(frame)].to_numpy(dtype=np.float64)
    rules = {
        "a curve occurs twice": frame.duplicated(_KEYS).any(),
        "a forecast was issued after its valid_time": (frame["issued_at"] > frame["valid_time"]).any(),
        "a median is NaN": frame[quantile_column(MEDIAN)].isna().any(),
        "quantiles cross": _cross(quantiles),
        "the file has no forecast": frame.empty,
    }
    broken = [rule for rule, holds in rules.items() if holds]
    if broken:
        raise FaultyForecastsError("; ".join(broken))
    return frame


def _cross(quantiles: Floats) -> bool:
    """Whether a quantile (points, levels) is below one of a lower level; NaN is not compared."""
    highest_so_far = np.maximum.accumulate(np.nan_to_num(quantiles, nan=-np.inf), axis=1)
    return bool((quantiles < highest_so_far - 1e-9).any())


def read_actuals(files: Sequence[Path], use_case: UseCase) -> pd.DataFrame:
    """Actuals: entity_id, valid_time and the target, and the reference where there is one.

    Columns are named as the use case's variables, or as its replay mapping names them. Of several files the later wins.
    Raises FaultyForecastsError where the target is missing.
    """
    frame = pd.concat([_named(_read(file), use_case) for file in files], ignore_index=True)
    return frame.drop_duplicates(["entity_id", "valid_time"], keep="last")


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    return cast("pd.DataFrame", pd.read_parquet(path))


def _named(frame: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """A file of actuals with columns named as variables."""
    mapping = use_case.replay
    if "valid_time" not in frame and mapping.time_column not in frame:
        frame = frame.rename_axis("valid_time").reset_index()
    frame = frame.rename(columns={mapping.time_column: "valid_time", **mapping.columns})
    if use_case.target not in frame:
        raise FaultyForecastsError(f"the actuals have no column {use_case.target!r}")
    if "entity_id" not in frame:
        frame = frame.assign(entity_id=mapping.entity_id or use_case.entities[0].id)
    return frame.assign(valid_time=_aware(frame["valid_time"], "valid_time"))


def _aware(column: pd.Series, name: str) -> pd.Series:
    """Times as UTC. Raises FaultyForecastsError where they carry no zone."""
    times = pd.to_datetime(column, format="ISO8601") if column.dtype == object else column
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise FaultyForecastsError(f"{name} carries no time zone")
    return times.dt.tz_convert("UTC").dt.as_unit("us")
