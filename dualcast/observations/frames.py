"""Frames of observations in order of publication, as all sources return them."""

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
    """A source cannot be read with the use case's mapping. The text says what the source has instead."""


@dataclass(frozen=True)
class Extent:
    """The time range of a source, UTC.

    first, last: the first and the last publication; None where there is no such bound.
    complete_until: the end of the newest target interval known of every entity.
    """

    first: datetime | None
    last: datetime | None
    complete_until: datetime | None


def empty() -> pd.DataFrame:
    """A frame without observations."""
    dtypes = dict.fromkeys(COLUMNS, "object")
    dtypes |= {"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE, "value": "float64", "simulated": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})


def in_canonical_order(observations: pd.DataFrame, target: str) -> pd.DataFrame:
    """Sort by publication, the target last among equals, then variable, valid time and entity.

    In this order a target value arrives after all values published at the same moment, so that its row includes them.
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
    """The rows of a frame in canonical order that were published in [start, end)."""
    published = ordered["published_at"].astype("int64").to_numpy()
    first, last = np.searchsorted(published, [micros(start), micros(end)], side="left")
    return ordered.iloc[first:last]
