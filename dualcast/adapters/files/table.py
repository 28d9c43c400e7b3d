"""CSV and Parquet files as tables of unparsed columns."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dualcast.observations.frames import SourceError

_CSV = (".csv", ".csv.gz")
_PARQUET = (".parquet", ".pq")
# Rows of a CSV file are numbered by line: the header is line 1.
_FIRST_CSV_LINE = 2


def read_table(path: Path) -> tuple[pd.DataFrame, int]:
    """The table of a file, and the line or row number of its first row, for errors.

    An index becomes a column. CSV columns are text. Raises SourceError where the file or its rows are missing.
    """
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    name = path.name.lower()
    if name.endswith(_CSV):
        table, first_line = _read_csv(path), _FIRST_CSV_LINE
    elif name.endswith(_PARQUET):
        table, first_line = _read_parquet(path), 0
    else:
        raise SourceError(f"{path}: files end in one of {', '.join(_CSV + _PARQUET)}")
    if table.empty:
        raise SourceError(f"{path}: the file has no rows; its columns: {_names(table)}")
    return table, first_line


def column_of(table: pd.DataFrame, name: str, role: str) -> pd.Series:
    """A column by its name. Raises SourceError, which names the existing columns."""
    if name not in table.columns:
        raise SourceError(f"there is no column {name!r} ({role}); the file has: {_names(table)}")
    return table[name]


def numbers(column: pd.Series, first_line: int) -> pd.Series:
    """A column as floats, NaN where a cell is empty. Raises SourceError with the first cell that is no number."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    text = column.astype("string").str.strip().replace("", pd.NA)
    value = pd.to_numeric(text, errors="coerce").astype("float64")
    bad = np.flatnonzero((value.isna() & text.notna() & (text.str.lower() != "nan")).to_numpy(dtype=bool))
    if len(bad):
        row = int(bad[0])
        raise SourceError(f"row {row + first_line}: {column.name!r}: {text.iloc[row]!r} is not a number")
    return value.mask(np.isinf(value))


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep=_separator(path), dtype="string", encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise SourceError(f"{path}: not a CSV file: {error}") from error


def _separator(path: Path) -> str:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        header = file.readline().decode("utf-8-sig")
    try:
        return csv.Sniffer().sniff(header, delimiters=",;\t|").delimiter
    except csv.Error:  # one column
        return ","


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not a Parquet file: {error}") from error
    if isinstance(table.index, pd.RangeIndex) and table.index.name is None:
        return table
    return table.reset_index()


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns)) or "none"
