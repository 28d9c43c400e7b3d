"""One simulated bidding zone: all its series, one local year at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity
from dualcast.features.holidays import SlotCalendar
from dualcast.timegrid import day_bounds
from streaming.ingest.simulator.demand import load_mw, operator_forecast_mw
from streaming.ingest.simulator.market import price_eur_per_mwh
from streaming.ingest.simulator.noise import Noise
from streaming.ingest.simulator.parameters import BiddingZoneParameters
from streaming.ingest.simulator.weather import Weather, weather

Quantity = Literal["load", "load_forecast", "temperature", "radiation", "wind_speed", "price"]
HOUR = 3600
# Buildings respond to past temperatures, so the weather of a year starts some days earlier.
_HOURS_BEFORE, _HOURS_AFTER = 240, 2
_DAYS_IN_YEAR = 365.2425
_GLITCH_HOURS, _GLITCH_SLOTS = 3, 2
_GLITCH_TOO_HIGH, _GLITCH_TOO_LOW = 10.0, 0.1


@dataclass(frozen=True)
class Simulated:
    """One quantity of one year: the starts of its intervals in seconds since 1970 and its values, (n,) each.

    truth is the measured value, expected the forecast of it made on the day before; both are NaN where nothing is
    published. glitched is a wrong reading of a meter that is published before its correction, NaN elsewhere.
    """

    step: int
    start: Slots
    truth: Floats
    expected: Floats
    glitched: Floats | None = None


class SimulatedZone:
    """A bidding zone on a grid of ``step`` seconds; a pure function of its entity and parameters."""

    def __init__(self, entity: Entity, step: int) -> None:
        """Raises SourceError if the entity's parameters are wrong."""
        self._entity = entity
        self._parameters = BiddingZoneParameters.of(entity)
        self._noise = Noise(entity.id, int(self._parameters.seed))
        self._step = step
        self._calendar = SlotCalendar(entity, step)
        self.year = lru_cache(maxsize=3)(self._year)

    def _year(self, year: int) -> dict[Quantity, Simulated]:
        """Simulate all series of a local calendar year."""
        begin, end = (int(day_bounds(date(y, 1, 1), self._entity.time_zone)[0].timestamp()) for y in (year, year + 1))
        truth, forecast = weather(
            self._entity, self._parameters, self._noise, begin // HOUR - _HOURS_BEFORE, end // HOUR + _HOURS_AFTER
        )
        slots = np.arange(begin // self._step, end // self._step)
        load = load_mw(self._entity, self._parameters, self._noise, truth, slots, self._step)
        expected = operator_forecast_mw(self._parameters, self._noise, load, slots, self._step)
        hours = slice(_HOURS_BEFORE, _HOURS_BEFORE + (end - begin) // HOUR)
        starts = np.arange(begin // HOUR, end // HOUR) * HOUR
        tomorrow = Weather(
            begin // HOUR, forecast.temperature[hours], forecast.radiation[hours], forecast.wind_speed[hours]
        )
        hourly = expected.reshape(-1, HOUR // self._step).mean(axis=1)
        price = price_eur_per_mwh(self._parameters, self._noise, hourly, tomorrow)
        return {
            "load": Simulated(self._step, slots * self._step, load, expected, self._meter_errors(load, slots)),
            "load_forecast": Simulated(self._step, slots * self._step, load, self._as_published(expected, slots)),
            "temperature": Simulated(HOUR, starts, truth.temperature[hours], tomorrow.temperature),
            "radiation": Simulated(HOUR, starts, truth.radiation[hours], tomorrow.radiation),
            "wind_speed": Simulated(HOUR, starts, truth.wind_speed[hours], tomorrow.wind_speed),
            "price": Simulated(HOUR, starts, price, price),
        }

    def _as_published(self, expected: Floats, slots: Slots) -> Floats:
        """The operator's forecast with rare faults: hours that are ten times too high, and missing days."""
        affected = self._affected(
            "operator glitch", slots, self._parameters.tso_glitches_per_year, _GLITCH_HOURS * HOUR
        )
        day = self._calendar.local_day(slots)
        missing = self._rare("operator silent", day, self._parameters.tso_missing_days_per_year)
        return np.where(missing, np.nan, np.where(affected, expected * _GLITCH_TOO_HIGH, expected))

    def _meter_errors(self, load: Floats, slots: Slots) -> Floats:
        """The wrong meter readings; NaN at slots without one."""
        length = _GLITCH_SLOTS * self._step
        affected = self._affected("meter glitch", slots, self._parameters.load_glitches_per_year, length)
        return np.where(affected, (load * _GLITCH_TOO_LOW).round(1), np.nan)

    def _affected(self, stream: str, slots: Slots, per_year: float, length: int) -> NDArray[np.bool_]:
        """Whether each slot lies in a random fault of ``length`` seconds. A local day has at most one fault."""
        day = self._calendar.local_day(slots)
        begins = self._random(f"{stream} at", day) * (86400 - length) // self._step * self._step
        second = self._calendar.local_seconds(slots) - day * 86400
        affected: NDArray[np.bool_] = (
            (second >= begins) & (second < begins + length) & self._rare(stream, day, per_year)
        )
        return affected

    def _rare(self, stream: str, day: Slots, per_year: float) -> NDArray[np.bool_]:
        """Whether each slot lies on a randomly chosen day. On average, ``per_year`` days of a year are chosen."""
        rare: NDArray[np.bool_] = self._random(stream, day) < per_year / _DAYS_IN_YEAR
        return rare

    def _random(self, stream: str, day: Slots) -> Floats:
        """Draw a uniform random value for each local day and repeat it at each slot of the day."""
        first = int(day.min())
        drawn: Floats = self._noise.uniform(stream, first, int(day.max()) + 1)[day - first]
        return drawn
