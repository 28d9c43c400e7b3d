"""Cleaning of one entity's new observations: refused with a reason, or valid, on the grid and each vintage once.

Functions of data frames; Silver runs them on Spark. ``fresh`` frames have the columns of Bronze, ``stored`` frames
those of Silver; both belong to one entity, their times are UTC.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Slots, Texts
from dualcast.catalogue import UseCase
from dualcast.observations.aggregation import are_sums
from dualcast.observations.columns import Columns, micros_of
from dualcast.observations.grid import place
from dualcast.observations.validation import (
    IMPLAUSIBLE,
    OF_OTHER_USE_CASE,
    UNKNOWN_ENTITY,
    YARDSTICK_AGE,
    faults,
    implausible,
)
from dualcast.timegrid import Grid, micros

VINTAGE = ["variable", "valid_time", "published_at"]
_ARRIVAL = ["partition", "offset", "position"]


def clean(
    use_case: UseCase, fresh: pd.DataFrame, stored: pd.DataFrame, elsewhere: Collection[str], now: datetime
) -> pd.DataFrame:
    """Validate new observations; return them with a column ``reason``, "" where valid.

    Valid ones are on the grid, a coarse interval as several rows; vintages that occur again or are ``stored`` are left
    out. Refused ones are unchanged. Variables that only other use cases of this entity have (``elsewhere``) are left
    out.
    """
    fresh = fresh.sort_values(_ARRIVAL, ignore_index=True)
    fresh["reason"] = _row_faults(use_case, fresh, elsewhere, now)
    fresh = fresh[fresh["reason"] != OF_OTHER_USE_CASE].reset_index(drop=True)
    fresh["interval"] = np.arange(len(fresh))
    valid = _on_grid(use_case, fresh[fresh["reason"] == ""])
    bad = _implausible_intervals(use_case, valid, stored)
    fresh.loc[fresh["interval"].isin(bad), "reason"] = IMPLAUSIBLE
    refused = fresh[fresh["reason"] != ""]
    kept = _new_vintages(valid[~valid["interval"].isin(bad)], stored)
    return pd.concat([kept, refused], ignore_index=True).drop(columns="interval")


def _row_faults(use_case: UseCase, fresh: pd.DataFrame, elsewhere: Collection[str], now: datetime) -> Texts:
    known = {entity.id for entity in use_case.entities}
    if len(fresh) and fresh["entity_id"].iat[0] not in known:
        return np.full(len(fresh), UNKNOWN_ENTITY, dtype=object)
    return faults(use_case, Columns.from_frame(fresh), micros(now), elsewhere)


def _on_grid(use_case: UseCase, valid: pd.DataFrame) -> pd.DataFrame:
    """Every interval as one row for each grid slot that it covers; ``first`` marks the first of them."""
    if valid.empty:
        return valid.assign(first=True)
    grid, columns = _grid(use_case, valid), Columns.from_frame(valid)
    placed = place(grid, columns.valid_time, columns.spans, columns.value, are_sums(use_case, columns.variable))
    if (placed.count == 1).all():
        return valid.assign(first=True)
    row, slot = placed.each_slot()
    cells = {"value": placed.value[row], "valid_time": grid.starts(slot), "first": slot == placed.slot[row]}
    return valid.iloc[row].reset_index(drop=True).assign(**cells)


def _new_vintages(valid: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """The first arrival of each vintage that is not stored."""
    first = valid.drop(columns="first").drop_duplicates(VINTAGE, keep="first")
    if stored.empty:
        return first
    known = pd.MultiIndex.from_frame(stored[VINTAGE])
    return first[~pd.MultiIndex.from_frame(first[VINTAGE]).isin(known)]


def _implausible_intervals(use_case: UseCase, valid: pd.DataFrame, stored: pd.DataFrame) -> set[int]:
    """The intervals whose value is out of proportion to last week's, as known when it was published.

    A refused value is not compared with the next week's, whose verdict may then change: the comparison is repeated
    until no verdict changes.
    """
    compared = {name: v.bounds for name, v in use_case.variables.items() if v.bounds.relative_to and v.bounds.ratio}
    if not compared or valid.empty:
        return set()
    known = _Known(use_case, valid, stored)
    rows = {name: np.flatnonzero((valid["variable"] == name) & valid["first"]) for name in compared}
    while True:
        before = known.refused.copy()
        for name, bounds in compared.items():
            week_ago = known.week_before(rows[name], bounds.relative_to or name)
            known.refused[rows[name]] = implausible(bounds, known.value[rows[name]], week_ago)
        if (known.refused == before).all():
            return set(valid["interval"].to_numpy()[known.refused[: len(valid)]].tolist())


class _Known:
    """New values, then stored ones, indexed by variable, slot and time of publication."""

    def __init__(self, use_case: UseCase, valid: pd.DataFrame, stored: pd.DataFrame) -> None:
        columns = [*VINTAGE, "value"]
        rows = pd.concat([valid[columns], stored[columns]], ignore_index=True)
        published, self._rank = np.unique(micros_of(rows["published_at"]), return_inverse=True)
        slot = _grid(use_case, valid).numbers(pd.DatetimeIndex(rows["valid_time"]))
        self._ranks = len(published)
        self._week = YARDSTICK_AGE // use_case.grid
        # one sort key: by slot, then by publication
        self._key = (slot - slot.min() + self._week) * self._ranks + self._rank
        self._variable = rows["variable"].to_numpy(dtype=object)
        self.value = rows["value"].to_numpy(dtype=np.float64)
        self.refused = np.zeros(len(rows), dtype=bool)

    def week_before(self, rows: Slots, variable: str) -> Floats:
        """The values of a variable a week before the rows, as known when each row was published; NaN where unknown."""
        held = np.flatnonzero(~self.refused & (self._variable == variable))
        if not len(held):
            return np.full(len(rows), np.nan)
        held = held[np.argsort(self._key[held], kind="stable")]
        wanted = self._key[rows] - self._week * self._ranks
        found = held[np.maximum(np.searchsorted(self._key[held], wanted, side="right") - 1, 0)]
        same_slot = (self._key[found] <= wanted) & (self._key[found] // self._ranks == wanted // self._ranks)
        return np.where(same_slot, self.value[found], np.nan)


def _grid(use_case: UseCase, rows: pd.DataFrame) -> Grid:
    """The grid of the entity that rows belong to."""
    return Grid(use_case.grid, use_case.entity(rows["entity_id"].iat[0]).time_zone)
