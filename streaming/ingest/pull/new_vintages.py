"""Converts values of a source to observations on the grid and in our unit, and keeps those that are not published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.catalogue import UseCase, Variable
from dualcast.observations.aggregation import aggregate_known
from dualcast.observations.frames import COLUMNS, TIME_DTYPE, empty
from dualcast.observations.publication import published_at
from dualcast.timegrid import Grid, iso_duration
from streaming.ingest.pull.published_vintages import PublishedVintages, Vintage
from streaming.ingest.source import Values

# A mean needs at least this share of its interval.
_LEAST_SHARE = 0.5
_SAME = 1e-9


def new_vintages(
    use_case: UseCase, values: Values, known: PublishedVintages, source: str, now: datetime, *, history: bool
) -> pd.DataFrame:
    """The observations that are new or changed, as a frame of COLUMNS in no order.

    A changed value is a new vintage with the source's publication time, else now. The same holds for a value that was
    never published, unless it is ``history``, which was not observed live: then the catalogue's rule gives the time.
    """
    series, variable = values.series, use_case.variables[values.series.spec.variable]
    rows, resolution = _on_grid(use_case, values, variable)
    rows = rows[np.isfinite(rows["value"])].reset_index(drop=True)
    if rows.empty:
        return empty()
    rows["value"] *= series.spec.factor
    valid_time = pd.DatetimeIndex(rows["valid_time"])
    zone = series.entity.time_zone
    held = known.of(series.entity.id, series.spec.variable)
    before = _before(valid_time, held)
    rule = published_at(variable.published, valid_time, resolution, zone)
    over = Grid(resolution, zone).starts(Grid(resolution, zone).numbers(valid_time) + 1)
    moment = pd.Timestamp(now).as_unit("us")
    stated = _plausible(pd.DatetimeIndex(rows["published_at"]), variable, over, moment)
    first = before["published"].isna().to_numpy()
    stated = stated.where(first | (stated > pd.DatetimeIndex(before["published"])), moment)
    by_rule = first & (history or not held)
    rows["published_at"] = pd.Series(stated.where(~by_rule, rule.where(rule < moment, moment))).astype(TIME_DTYPE)
    changed = ~np.isclose(rows["value"], before["value"], rtol=_SAME, atol=0.0)
    ended = np.asarray(over <= moment) | (variable.kind != "observed")
    rows = rows.assign(
        entity_id=series.entity.id,
        variable=series.spec.variable,
        resolution=iso_duration(resolution),
        unit=variable.unit,
        source=source,
        simulated=False,
    )
    return rows.loc[(first | changed) & ended, list(COLUMNS)]


def _plausible(
    stated: pd.DatetimeIndex, variable: Variable, over: pd.DatetimeIndex, now: pd.Timestamp
) -> pd.DatetimeIndex:
    """The publication times of the source; now where one is missing or impossible."""
    wrong = stated.isna() | (stated > now)
    if variable.kind == "observed":
        wrong |= stated < over
    return stated.where(~wrong, now)


def _before(valid_time: pd.DatetimeIndex, held: Mapping[int, Vintage]) -> pd.DataFrame:
    """The published vintage at each time: published (NaT if none) and value."""
    found = [held.get(time) for time in valid_time.as_unit("us").asi8.tolist()]
    return pd.DataFrame(
        {
            "published": pd.to_datetime([None if f is None else f[0] for f in found], unit="us", utc=True),
            "value": [np.nan if f is None else f[1] for f in found],
        }
    )


def _on_grid(use_case: UseCase, values: Values, variable: Variable) -> tuple[pd.DataFrame, timedelta]:
    """Aggregate intervals that are shorter than the grid's; return the rows and the length of their intervals.

    A mean is computed from the available parts once the source has later values; a sum needs all parts. Raises
    ValueError if intervals do not fit the grid.
    """
    rows = values.columns.drop_duplicates("valid_time", keep="last").sort_values("valid_time", ignore_index=True)
    if values.resolution >= use_case.grid:
        if values.resolution % use_case.grid:
            raise ValueError(f"intervals of {iso_duration(values.resolution)} do not fit the grid")
        return rows, values.resolution
    if use_case.grid % values.resolution:
        raise ValueError(f"intervals of {iso_duration(values.resolution)} do not fit the grid")
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return rows, use_case.grid
    grid = Grid(use_case.grid, values.series.entity.time_zone)
    number = grid.numbers(pd.DatetimeIndex(rows["valid_time"]))
    gathered = rows.groupby(number).agg(
        total=("value", "sum"), known=("value", "size"), published_at=("published_at", "max")
    )
    starts, ends = grid.starts(gathered.index.to_numpy()), grid.starts(gathered.index.to_numpy() + 1)
    total, known = gathered["total"].to_numpy(np.float64), gathered["known"].to_numpy(np.int64)
    parts = np.asarray((ends - starts) / values.resolution, dtype=np.float64)
    value = aggregate_known(total, known, parts, variable.aggregate, _LEAST_SHARE)
    # an interval that ends after the newest value may still receive parts
    passed = np.asarray(rows["valid_time"].max() + values.resolution > ends)
    gathered = gathered.assign(value=value, valid_time=starts)
    return gathered[np.isfinite(value) & ((known >= parts) | passed)].reset_index(drop=True), use_case.grid
