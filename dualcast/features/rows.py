"""Feature rows as columns: many of one entity in one message of ``features.intraday.v1``.

A backfill makes hundreds of rows at once. A value that depends on the target's slot alone, such as its holidays or a
forecast by others, occurs in as many rows as there are horizons. In a message it is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dualcast.arrays import Floats, Micros
from dualcast.catalogue import MOST_HORIZONS
from dualcast.features.window import is_sliding, sequence_of
from dualcast.records import FeatureRow
from dualcast.timegrid import from_micros, micros


@dataclass(frozen=True)
class FeatureRows:
    """Feature rows of n origins of one entity.

    valid_time, as_of: (n,) microseconds since 1970; features: name -> (n, 1) or (n, horizons).
    """

    use_case: str
    entity_id: str
    feature_set: str
    valid_time: Micros
    as_of: Micros
    features: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.valid_time)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """From a decoded message, its times as datetimes or microseconds.

        Raises ValueError where it is another record, or has a wrong number of values.
        """
        try:
            origins = [record, *record["more"]]
            valid_time, as_of = (_micros([origin[name] for origin in origins]) for name in ("valid_time", "as_of"))
            features = {n: unpacked(v, len(origins), record["horizons"]) for n, v in record["features"].items()}
            return cls(record["use_case"], record["entity_id"], record["feature_set"], valid_time, as_of, features)
        except KeyError as error:
            raise ValueError(f"not a record of feature rows: {error} is missing") from error

    def one_by_one(self, since: datetime | None = None) -> list[FeatureRow]:
        """The rows as single records, in order; those whose as_of is ``since`` or later."""
        wanted = range(len(self)) if since is None else np.flatnonzero(self.as_of >= micros(since)).tolist()
        return [self._one(i) for i in wanted]

    def _one(self, i: int) -> FeatureRow:
        times = from_micros(int(self.valid_time[i])), from_micros(int(self.as_of[i]))
        cells = {name: values[i].tolist() for name, values in self.features.items()}
        return FeatureRow(self.use_case, self.entity_id, *times, self.feature_set, cells)


def packed(values: Floats) -> Floats:
    """Values of n rows, (n, 1) or (n, horizons), as a message stores them.

    Where the rows are sliding views of one sequence, as ``Window.by_slot`` makes them: that sequence. Else row by row.
    """
    return sequence_of(values) if is_sliding(values) else values.ravel()


def packed_size(values: Floats) -> int:
    """The length of ``packed(values)``."""
    return sum(values.shape) - 1 if is_sliding(values) else values.size


def unpacked(flat: Any, rows: int, horizons: int) -> Floats:
    """The values that were ``packed``, by row. Raises ValueError where their number does not fit."""
    if not 0 <= horizons <= MOST_HORIZONS:
        raise ValueError(f"{horizons} horizons, of at most {MOST_HORIZONS}")
    values: Floats = np.asarray(flat, dtype=np.float64)
    if rows == 1:
        return values[np.newaxis]
    if len(values) in (rows, rows * horizons):
        return values.reshape(rows, -1)
    if len(values) == rows + horizons - 1:
        return sliding_window_view(values, horizons)
    raise ValueError(f"{len(values)} values in {rows} rows of {horizons} horizons")


def _micros(times: Sequence[datetime | int]) -> Micros:
    return np.array([time if isinstance(time, int) else micros(time) for time in times], dtype=np.int64)
