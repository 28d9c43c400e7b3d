"""The forecast file of a backtest: complete folds, replaced atomically, with the facts it was made with.

Parquet in the long form that ``dualcast score`` reads. The schema's metadata hold the facts of the request and the
complete folds, so that an interrupted backtest can continue from the file alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_KEY = b"dualcast.backtest"


class OtherBacktestError(ValueError):
    """The file exists and belongs to another backtest. The message names the differences."""


class ForecastFile:
    """Forecasts by fold; a process that is killed leaves the complete folds."""

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        """Open or create the file. Raises OtherBacktestError where it was made with other facts."""
        self.path = path
        self._facts = dict(facts)
        self._folds: dict[str, pa.Table] = {}
        if path.exists():
            self._folds = self._read()

    @property
    def done(self) -> list[str]:
        """The names of the folds in the file."""
        return list(self._folds)

    def add(self, fold: str, forecasts: pd.DataFrame) -> None:
        """Replace the file by one with a further fold."""
        table = pa.Table.from_pandas(forecasts, preserve_index=False).replace_schema_metadata(None)
        self._folds[fold] = table
        stored = {"facts": self._facts, "folds": {name: part.num_rows for name, part in self._folds.items()}}
        whole = pa.concat_tables(self._folds.values()).replace_schema_metadata({_KEY: json.dumps(stored)})
        unfinished = self.path.with_name(f".{self.path.name}.unfinished")
        with unfinished.open("wb") as file:
            pq.write_table(whole, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)

    def frame(self) -> pd.DataFrame:
        """All forecasts in the file."""
        return pa.concat_tables(self._folds.values()).to_pandas() if self._folds else pd.DataFrame()

    def _read(self) -> dict[str, pa.Table]:
        try:
            table = pq.read_table(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise OtherBacktestError(f"{self.path} exists and is not a forecast file: {error}") from error
        metadata = table.schema.metadata or {}
        if _KEY not in metadata:
            raise OtherBacktestError(f"{self.path} exists and was not made by a backtest: choose another --out")
        stored = json.loads(metadata[_KEY])
        self._compare(stored["facts"])
        table, folds, begin = table.replace_schema_metadata(None), {}, 0
        for name, rows in stored["folds"].items():
            folds[name] = table.slice(begin, rows)
            begin += rows
        return folds

    def _compare(self, made_with: Mapping[str, str]) -> None:
        names = dict.fromkeys([*made_with, *self._facts])
        other = [n for n in names if made_with.get(n) != self._facts.get(n)]
        if other:
            text = "; ".join(f"{n} was {made_with.get(n, 'none')}, is {self._facts.get(n, 'none')}" for n in other)
            raise OtherBacktestError(f"{self.path} belongs to another backtest: {text}. Choose another --out")
