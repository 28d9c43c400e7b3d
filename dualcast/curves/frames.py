"""Curves in long form, one row for each point: as columns, and as pandas frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dualcast.curves.fields import CurveField, Rows
from dualcast.curves.forecast import FIELDS, TIME_FIELDS, Forecast
from dualcast.curves.quantiles import quantile_column, union_of_levels


def row_fields(rows: Rows) -> tuple[tuple[CurveField, ...], tuple[CurveField, ...]]:
    """The fields that a table of points repeats: those before valid_time and the quantiles, and those after them."""
    shown = tuple(f for f in FIELDS if f.rows & rows)
    after_issue = [f.name for f in shown].index("issued_at") + 1
    return shown[:after_issue], shown[after_issue:]


def point_columns(
    forecasts: Sequence[Forecast],
    rows: Rows,
    levels: Sequence[float],
    beside: Mapping[str, list[Any]] | None = None,
) -> dict[str, list[Any]]:
    """Curves as the columns of one table, a row for each point; a level that a curve lacks is None.

    ``beside`` are columns to stand behind the quantiles.
    """
    before, after = row_fields(rows)
    columns = {f.name: _repeated(forecasts, f) for f in before}
    columns["valid_time"] = [p.valid_time for f in forecasts for p in f.points]
    columns |= {quantile_column(level): list(_values_at(forecasts, level)) for level in levels}
    columns |= beside or {}
    return columns | {f.name: _repeated(forecasts, f) for f in after}


def forecast_frame(forecasts: Sequence[Forecast], levels: Sequence[float] | None = None) -> pd.DataFrame:
    """Curves in long form: use_case, path, entity_id, issued_at, valid_time, q10, q50, ... and what traces them.

    There is a column for each of ``levels``, or for the union of the curves' levels; a level that a curve lacks is NaN.
    Raises ValueError where there is no curve, or where one has a level that is not among ``levels``.
    """
    if not forecasts:
        raise ValueError("there are no forecasts")
    found = union_of_levels(f.quantile_levels for f in forecasts)
    levels = found if levels is None else levels
    if others := sorted(set(found) - set(levels)):
        raise ValueError(f"curves have the quantile levels {others} besides {list(levels)}")
    columns: dict[str, Any] = dict(point_columns(forecasts, Rows.EXPORT, levels))
    for name in columns.keys() & {*TIME_FIELDS, "valid_time"}:
        columns[name] = pd.to_datetime(columns[name], utc=True).as_unit("us")
    for name in map(quantile_column, levels):
        columns[name] = np.array(columns[name], dtype=np.float64)
    return pd.DataFrame(columns)


def _repeated(forecasts: Sequence[Forecast], field: CurveField) -> list[Any]:
    column: list[Any] = []
    for forecast in forecasts:
        value = getattr(forecast, field.name)
        column += [";".join(value) if isinstance(value, list) else value] * len(forecast.points)
    return column


def _values_at(forecasts: Sequence[Forecast], level: float) -> Iterator[float | None]:
    for forecast in forecasts:
        if level in forecast.quantile_levels:
            place = forecast.quantile_levels.index(level)
            yield from (point.values[place] for point in forecast.points)
        else:
            yield from [None] * len(forecast.points)
