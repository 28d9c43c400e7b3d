"""Test data with known errors for the services: a load curve, a reference 4% high, forecasts 1% and 0.5% high.

No server is involved: the functions fill the caches as the Kafka feeds do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dualcast.adapters.kafka.wire.decoder import ObservationMessage
from dualcast.catalogue import UseCase, load_use_case
from dualcast.curves.forecast import Forecast, Point
from dualcast.observations.columns import Columns
from dualcast.records import Observation, ObservationBatch
from dualcast.settings import Settings
from dualcast.timegrid import Clock, floor, iso_duration
from services.book.curves import CurveCache
from services.book.series import SeriesCache
from services.da_svc.deps import DayAheadDeps

USE_CASES = Path(__file__).parents[1] / "use_cases"
NOW = datetime(2022, 5, 3, 12, 0, tzinfo=UTC)
DAY_AHEAD_RATIO, INTRADAY_RATIO, REFERENCE_RATIO = 1.01, 1.005, 1.04
_STEP = timedelta(minutes=15)


@cache
def catalogue() -> dict[str, UseCase]:
    """Return a catalogue with the German load use case."""
    return {"de_load": load_use_case("de_load", USE_CASES)}


def true_load(moment: datetime) -> float:
    """Return the load in MW: two daily peaks, lower at weekends."""
    hour = (moment + timedelta(hours=2)).hour + moment.minute / 60
    day = 9000 * math.exp(-(((hour - 11) / 3.2) ** 2)) + 8500 * math.exp(-(((hour - 19) / 2.4) ** 2))
    return round((46000 + day) * (0.88 if moment.weekday() >= 5 else 1.0), 1)


def observation(variable: str, valid: datetime, value: float, published: datetime, **more: Any) -> Observation:
    """Return one observation of a quarter-hour."""
    fields: dict[str, Any] = {"resolution": "PT15M", "unit": "MW", "source": "test", "simulated": True} | more
    return Observation(variable, valid, value=value, published_at=published, **fields)


def message(record: dict[str, Any]) -> ObservationMessage:
    """Convert a record of ``observations.v1`` to a decoded message."""
    records = record["observations"]
    return ObservationMessage(
        record["entity_id"],
        Columns.from_records(records),
        records.__getitem__,
        lambda: np.array([o["source"] for o in records], dtype=object),
        lambda: np.array([o["simulated"] for o in records], dtype=bool),
    )


def observations(start: datetime, end: datetime, entity_id: str = "DE") -> dict[str, Any]:
    """Return a record of ``observations.v1``: load until ``end``, the reference until 36 hours later."""
    found, moment = [], start
    while moment < end + timedelta(hours=36):
        reference = true_load(moment) * REFERENCE_RATIO
        found.append(observation("load_forecast_tso", moment, reference, moment - timedelta(hours=36)))
        if moment < end:
            found.append(observation("load", moment, true_load(moment), moment + _STEP))
        moment += _STEP
    return ObservationBatch(entity_id, found).to_record()


def curve(path: str, times: list[datetime], issued_at: datetime, ratio: float, **more: Any) -> Forecast:
    """Return a curve with a known ratio to the true load and quantiles 3% below and above the median."""
    use_case = catalogue()["de_load"]
    short = "da" if path == "day_ahead" else "id"
    part = use_case.part("day-ahead" if path == "day_ahead" else "intraday")
    fields: dict[str, Any] = {
        "use_case": "de_load",
        "path": path,
        "entity_id": "DE",
        "issued_at": issued_at,
        "target": "load",
        "unit": "MW",
        "resolution": iso_duration(part.resolution),
        "model_name": f"model_{short}_de_load",
        "model_version": "1",
        "code_version": "0a1b2c3",
        "data_version": "silver@12",
        "newest_input_at": issued_at,
        "degraded": False,
        "degraded_reasons": [],
        "quantile_levels": [0.1, 0.5, 0.9],
        "points": [Point(t, [mean_load(t, part.resolution) * ratio * f for f in (0.97, 1.0, 1.03)]) for t in times],
        "simulated": True,
    }
    return Forecast(**(fields | more))


def mean_load(moment: datetime, step: timedelta) -> float:
    """Return the mean of the true load over an interval."""
    parts = [moment + i * _STEP for i in range(step // _STEP)]
    return sum(map(true_load, parts)) / len(parts)


def day_ahead(day: date, **more: Any) -> Forecast:
    """Return the curve of a delivery day, issued at its cutoff."""
    use_case = catalogue()["de_load"]
    entity = use_case.entity("DE")
    times = use_case.delivery_times(entity, day)
    return curve("day_ahead", times, use_case.cutoff(entity, day), more.pop("ratio", DAY_AHEAD_RATIO), **more)


def intraday(issued_at: datetime, **more: Any) -> Forecast:
    """Return a curve for six hours from a time."""
    first = floor(issued_at, _STEP)
    times = [first + k * _STEP for k in range(24)]
    return curve("intraday", times, issued_at, more.pop("ratio", INTRADAY_RATIO), **more)


def frozen(moment: datetime = NOW) -> Clock:
    """Return a clock fixed at a time."""
    return Clock(start=moment, until=moment)


def settings(clock: Clock, **more: Any) -> Settings:
    """Return settings without any servers."""
    return Settings(_env_file=None, clock=clock, use_cases=USE_CASES, **more)


def da_deps(clock: Clock | None = None, known: Mapping[str, UseCase] | None = None) -> DayAheadDeps:
    """Return the dependencies of da-svc with empty caches."""
    clock, found = clock or frozen(), known or catalogue()
    return DayAheadDeps(settings(clock), found, CurveCache(found), SeriesCache(found, clock))


def filled_da_deps() -> DayAheadDeps:
    """Return the dependencies of da-svc with three days of observations and curves, at noon (UTC) of 2022-05-03."""
    deps = da_deps()
    fill(deps)
    return deps


def fill(deps: DayAheadDeps, now: datetime = NOW, days: int = 3) -> None:
    """Fill the caches with some days of observations and of all curves issued until ``now``."""
    start = now - timedelta(days=days)
    deps.series.add([message(observations(start, now))])
    day = start.date()
    use_case = deps.catalogue["de_load"]
    while use_case.cutoff(use_case.entity("DE"), day) <= now:
        deps.curves.add(day_ahead(day))
        day += timedelta(days=1)
    moment = start
    while moment <= now:
        deps.curves.add(intraday(moment))
        moment += _STEP
