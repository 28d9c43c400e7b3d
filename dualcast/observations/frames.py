"""Observations as columns: frames in the order in which they became known, wherever they were read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from dualcast.timegrid import micros

TIME_DTYPE = "datetime64[us, UTC]"
COLUMNS = (
    "entity_id",
    "variable",
    "valid_time",
    "resolution",
    "value",
    "unit",
    "published_at",
    "source",
    "simulated",
)


class SourceError(ValueError):
    """A source cannot be read as the mapping says. The text says what it has instead."""


@dataclass(frozen=True)
class Extent:
    """How far a source reaches, UTC.

    first, last: when its first and its last value became known; None where there is no such bound.
    complete_until: the end of the newest target interval that every entity has.
    """

    first: datetime | None
    last: datetime | None
    complete_until: datetime | None


def empty() -> pd.DataFrame:
    """A frame of no observations."""
    dtypes = dict.fromkeys(COLUMNS, "object")
    dtypes |= {"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE, "value": "float64", "simulated": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})


def in_canonical_order(observations: pd.DataFrame, target: str) -> pd.DataFrame:
    """By publication, the target last among equals, then variable, valid time and entity.

    In this order the arrival of a target value sees all that was published with it.
    """
    variable, entity = observations["variable"], observations["entity_id"]
    order = np.lexsort(
        [
            pd.factorize(entity, sort=True)[0],
            observations["valid_time"].astype("int64"),
            pd.factorize(variable, sort=True)[0],
            variable.to_numpy() == target,
            observations["published_at"].astype("int64"),
        ]
    )
    return observations.iloc[order].reset_index(drop=True)


def published_between(ordered: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    """The rows of a frame in canonical order that became known in [start, end)."""
    published = ordered["published_at"].astype("int64").to_numpy()
    first, last = np.searchsorted(published, [micros(start), micros(end)], side="left")
    return ordered.iloc[first:last]
