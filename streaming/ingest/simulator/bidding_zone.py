"""The simulator of bidding zones as a source: its variables, and the publication time of each value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase, Variable
from dualcast.observations.frames import TIME_DTYPE, Extent, SourceError, empty, in_canonical_order
from dualcast.observations.publication import published_at, valid_range
from dualcast.timegrid import iso_duration, local_date
from streaming.ingest.simulator.zone import HOUR, Quantity, Simulated, SimulatedZone

NAME = "simulator"
_LOAD_UNIT = "MW"
_BY_UNIT: dict[str, Quantity] = {
    "celsius": "temperature",
    "W/m2": "radiation",
    "m/s": "wind_speed",
    "EUR/MWh": "price",
}
_CORRECTED_AFTER = timedelta(days=1)
# The holiday calendar begins in 2000, and noise needs a warm-up.
_FIRST_YEAR = 2002


class BiddingZoneSimulator:
    """Load, the operator's forecast, weather and prices of every entity of a use case; see ``Source``.

    The target is the load and the reference the operator's forecast; other variables are identified by their unit.
    """

    name = NAME
    extent = Extent(None, None, None)

    def __init__(self, use_case: UseCase) -> None:
        """Raises SourceError if the entities are not bidding zones or a parameter is wrong."""
        seconds = int(use_case.grid.total_seconds())
        if use_case.unit != _LOAD_UNIT or HOUR % seconds:
            raise SourceError(
                f"{use_case.use_case}: the simulator of bidding zones makes a load in {_LOAD_UNIT} on a grid that"
                f" divides the hour, not {use_case.unit} every {iso_duration(use_case.grid)}"
            )
        self._use_case = use_case
        self._zones = {entity.id: SimulatedZone(entity, seconds) for entity in use_case.entities}
        self._quantities = _quantities(use_case)
        left_out = [f"{n} ({v.unit})" for n, v in use_case.variables.items() if n not in self._quantities]
        self.notes = [f"not simulated: {', '.join(left_out)}"] if left_out else []

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The values published in [start, end); see ``Source``. Raises SourceError before the year 2002."""
        if start.year < _FIRST_YEAR:
            raise SourceError(f"the simulator begins in {_FIRST_YEAR}")
        frames = [frame for entity in self._use_case.entities for frame in self._of(entity, start, end) if len(frame)]
        if not frames:
            return empty()
        return in_canonical_order(pd.concat(frames, ignore_index=True), self._use_case.target)

    def _of(self, entity: Entity, start: datetime, end: datetime) -> Iterator[pd.DataFrame]:
        """The values of an entity published in [start, end), by year of valid time."""
        zone = self._zones[entity.id]
        for year in self._years(entity, start - _CORRECTED_AFTER, end):
            simulated = zone.year(year)
            for name, quantity in self._quantities.items():
                yield from _vintages(entity, name, self._use_case.variables[name], simulated[quantity], (start, end))

    def _years(self, entity: Entity, start: datetime, end: datetime) -> range:
        """The local years whose values may be published in [start, end)."""
        rules = [self._use_case.variables[name].published for name in self._quantities]
        ranges = [valid_range(rule, start, end, timedelta(seconds=HOUR)) for rule in rules]
        first, last = min(r[0] for r in ranges), max(r[1] for r in ranges)
        return range(local_date(first, entity.time_zone).year, local_date(last, entity.time_zone).year + 1)


def _quantities(use_case: UseCase) -> dict[str, Quantity]:
    """The simulated quantity of each variable, by its name."""
    found: dict[str, Quantity] = {use_case.target: "load"}
    if use_case.reference is not None and use_case.variables[use_case.reference].unit == _LOAD_UNIT:
        found[use_case.reference] = "load_forecast"
    by_unit = {n: _BY_UNIT[v.unit] for n, v in use_case.variables.items() if v.unit in _BY_UNIT}
    return by_unit | found


def _vintages(
    entity: Entity, name: str, rule: Variable, series: Simulated, window: tuple[datetime, datetime]
) -> Iterator[pd.DataFrame]:
    """The first vintage of a variable, and corrections of its wrong values."""
    first = series.truth if rule.kind == "observed" else series.expected
    if series.glitched is None or rule.kind != "observed":
        yield _published(entity, name, rule, series, first, window)
        return
    wrong = np.isfinite(series.glitched)
    yield _published(entity, name, rule, series, np.where(wrong, series.glitched, first), window)
    before = window[0] - _CORRECTED_AFTER, window[1] - _CORRECTED_AFTER
    correction = _published(entity, name, rule, series, np.where(wrong, first, np.nan), before)
    yield correction.assign(published_at=correction["published_at"] + _CORRECTED_AFTER)


def _published(
    entity: Entity, name: str, rule: Variable, series: Simulated, value: Floats, window: tuple[datetime, datetime]
) -> pd.DataFrame:
    """Observations of the finite values of one series that are published in a window [start, end)."""
    start, end = window
    step = timedelta(seconds=series.step)
    first, last = (bound.timestamp() for bound in valid_range(rule.published, start, end, step))
    begin, stop = np.searchsorted(series.start, [first, last + series.step])
    valid = pd.DatetimeIndex(series.start[begin:stop] * 1_000_000_000, tz="UTC").as_unit("us")
    known = published_at(rule.published, valid, step, entity.time_zone)
    taken = (known >= start) & (known < end) & np.isfinite(value[begin:stop])
    return pd.DataFrame(
        {
            "entity_id": entity.id,
            "variable": name,
            "valid_time": valid[taken],
            "resolution": iso_duration(step),
            "value": value[begin:stop][taken],
            "unit": rule.unit,
            "published_at": known[taken],
            "source": NAME,
            "simulated": True,
        }
    ).astype({"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE})
