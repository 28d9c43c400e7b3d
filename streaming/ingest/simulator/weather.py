"""Simulated hourly weather of a zone: the actual weather, and its forecast of the day before.

Radiation is from pvlib (clear sky: simplified Solis, Ineichen 2008); clouds, warm spells and wind are AR(1) noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pvlib.clearsky import simplified_solis
from pvlib.solarposition import get_solarposition

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity
from streaming.ingest.simulator.noise import Noise
from streaming.ingest.simulator.parameters import BiddingZoneParameters

_YEAR_HOURS = 365.2425 * 24
_WARMEST_HOUR_OF_YEAR = 200 * 24
_WARMEST_SOLAR_HOUR = 15


@dataclass(frozen=True)
class Weather:
    """Hourly means of the hours [first, first + n) since 1970, each (n,).

    temperature in degrees Celsius, radiation (direct, on the horizontal) in W/m2, wind speed at hub height in m/s.
    """

    first: int
    temperature: Floats
    radiation: Floats
    wind_speed: Floats

    def at(self, seconds: Floats, values: Floats) -> Floats:
        """A series interpolated between the middles of the hours, at any moments (seconds since 1970)."""
        middles = (self.first + np.arange(len(values)) + 0.5) * 3600.0
        return np.interp(seconds, middles, values)


def weather(
    entity: Entity, parameters: BiddingZoneParameters, noise: Noise, first: int, last: int
) -> tuple[Weather, Weather]:
    """The actual and the forecast weather of the hours [first, last) since 1970."""
    hours = np.arange(first, last)
    clear = _clear_sky(entity, hours)
    mean = _mean_temperature(entity, parameters, hours)
    swing = _day_swing(entity, parameters, hours)
    spells = parameters.weather_noise_kelvin * noise.wander("spells", first, last, 80)
    ripple = 0.5 * noise.wander("ripple", first, last, 6)
    clouds = noise.wander("clouds", first, last, 16)
    gusts = 0.38 * noise.wander("wind", first, last, 28)
    season = np.cos(_season_angle(hours))
    calm = parameters.mean_wind_speed_m_per_s * (1 - 0.15 * season) * np.exp(-0.07)

    def of(warmth: Floats, cloudiness: Floats, gust: Floats) -> Weather:
        clearness = _clearness(cloudiness)
        temperature = mean + warmth + swing * (0.4 + 0.9 * clearness)
        return Weather(first, temperature.round(2), (clear * clearness).round(1), (calm * np.exp(gust)).round(2))

    off = parameters.weather_error
    warmth_error = 0.7 * noise.wander("spell error", first, last, 30) + 0.6 * noise.wander(
        "ripple error", first, last, 8
    )
    cloud_error = 0.5 * noise.wander("cloud error", first, last, 8)
    gust_error = 0.15 * noise.wander("wind error", first, last, 8)
    truth = of(spells + ripple, clouds, gusts)
    return truth, of(spells + off * warmth_error, clouds + off * cloud_error, gusts + off * gust_error)


def _clear_sky(entity: Entity, hours: Slots) -> Floats:
    """Direct radiation on the horizontal under a clear sky, in the middle of each hour, W/m2."""
    middles = pd.DatetimeIndex((hours * 3600 + 1800) * 1_000_000_000, tz="UTC")
    sun = get_solarposition(middles, entity.latitude, entity.longitude)
    sky = simplified_solis(sun["apparent_elevation"])
    direct: Floats = (sky["ghi"] - sky["dhi"]).clip(lower=0).to_numpy()
    return direct


def _clearness(clouds: Floats) -> Floats:
    """The share of direct radiation that is transmitted through the clouds."""
    clearness: Floats = 0.95 / (1 + np.exp(1.7 * clouds))
    return clearness


def _season_angle(hours: Slots) -> Floats:
    angle: Floats = (hours - _WARMEST_HOUR_OF_YEAR) / _YEAR_HOURS * 2 * np.pi
    return angle


def _mean_temperature(entity: Entity, parameters: BiddingZoneParameters, hours: Slots) -> Floats:
    yearly = parameters.mean_temperature_celsius
    if yearly is None:
        yearly = 30.0 - 0.38 * abs(entity.latitude)
    summer = 1.0 if entity.latitude >= 0 else -1.0
    return yearly + summer * parameters.season_temperature_kelvin * np.cos(_season_angle(hours))


def _day_swing(entity: Entity, parameters: BiddingZoneParameters, hours: Slots) -> Floats:
    summer = 1.0 if entity.latitude >= 0 else -1.0
    strength = parameters.day_temperature_kelvin * (0.65 + 0.35 * summer * np.cos(_season_angle(hours)))
    solar_hour = hours + 0.5 + entity.longitude / 15.0
    swing: Floats = strength * np.cos((solar_hour - _WARMEST_SOLAR_HOUR) / 24 * 2 * np.pi)
    return swing
