"""Times of files, aware or naive, including the repeated and skipped hours of clock changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dualcast.observations.frames import SourceError

_OFFSET = r"(?:[Zz]|[+-]\d{2}:?\d{2})\s*$"


def utc_times(column: pd.Series, zone: str, *, series: Sequence[pd.Series], name: str, first_line: int) -> pd.Series:
    """The moments of a column of times, UTC in microseconds.

    Naive times are wall-clock times of ``zone``. Of a repeated hour, the first row of a series is the earlier moment
    and the second the later one; ``series`` are the columns that identify a series.
    ``name`` and ``first_line`` (the file's line of the first row) are for errors. Raises SourceError.
    """
    parsed = _parsed(column, name, first_line)
    if parsed.dt.tz is None:
        parsed = _localised(parsed, zone, series, name, first_line)
    return parsed.dt.tz_convert("UTC").dt.as_unit("us")


def _parsed(column: pd.Series, name: str, first_line: int) -> pd.Series:
    if isinstance(column.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(column.dtype):
        parsed = column
    elif pd.api.types.is_numeric_dtype(column.dtype):
        raise SourceError(f"column {name!r} holds numbers, not times")
    else:
        parsed = _from_text(column.astype("string"), name, first_line)
    _refuse(parsed.isna(), column, name, first_line, "is not a time in ISO 8601")
    return parsed


def _from_text(text: pd.Series, name: str, first_line: int) -> pd.Series:
    aware = text.str.contains(_OFFSET, regex=True).fillna(value=False).astype(bool)
    unreadable = pd.to_datetime(text.astype(object), format="ISO8601", errors="coerce", utc=True).isna()
    _refuse(unreadable, text, name, first_line, "is not a time in ISO 8601")
    if aware.any():
        _refuse(~aware, text, name, first_line, "has no zone, while other rows have")
    return pd.to_datetime(text.astype(object), format="ISO8601", utc=bool(aware.any()))


def _localised(wall: pd.Series, zone: str, series: Sequence[pd.Series], name: str, first_line: int) -> pd.Series:
    keys = [wall, *series]
    times_seen = wall.groupby(keys, dropna=False, sort=False).cumcount().to_numpy()
    moments = wall.dt.tz_localize(zone, ambiguous=times_seen == 0, nonexistent="NaT")
    _refuse(moments.isna(), wall, name, first_line, f"does not exist in {zone}: is 'time_zone' right?")
    return moments


def _refuse(bad: pd.Series, column: pd.Series, name: str, first_line: int, why: str) -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        row = int(rows[0])
        raise SourceError(f"row {row + first_line}: {name!r}: {column.iloc[row]} {why} ({len(rows)} such rows)")
