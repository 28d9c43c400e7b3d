"""Simulated demand of a zone from calendar, weather and noise, and the grid operator's forecast of it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity
from dualcast.features.holidays import SlotCalendar
from dualcast.timegrid import day_number
from streaming.ingest.simulator.noise import Noise, smoothed
from streaming.ingest.simulator.parameters import BiddingZoneParameters
from streaming.ingest.simulator.profiles import PROFILE_STEP, year_profiles
from streaming.ingest.simulator.weather import Weather

_HEATING_BELOW, _COOLING_ABOVE = 15.0, 21.0
# The time constant of buildings' response to the outside temperature.
_BUILDING_HOURS = 18
_BASE_YEAR, _DAYS_IN_YEAR, _YEAR_ZERO = 2020, 365.2425, 1970
_HOLIDAY, _WEEKEND = 0.5, 5
_MIDSUMMER, _MIDWINTER = 212, 20
_LOWEST_SHARE = 0.05
# The standard deviation of a normal variable whose mean absolute value is 1.
_SD_OF_MAE = float(np.sqrt(np.pi / 2))


def load_mw(
    entity: Entity, parameters: BiddingZoneParameters, noise: Noise, truth: Weather, slots: Slots, step: int
) -> Floats:
    """The mean demand of consecutive slots (n,) of ``step`` seconds, in MW."""
    calendar = SlotCalendar(entity, step)
    years = slots * step / 86400 / _DAYS_IN_YEAR + _YEAR_ZERO - _BASE_YEAR
    growth = (1 + parameters.growth_percent_per_year / 100) ** years
    clock = _profile_demand(parameters, calendar, slots) * _day_factor(parameters, calendar, slots)
    response = _weather_response(parameters, truth, slots * float(step) + step / 2)
    noise_factor = np.exp(_random_term(parameters, noise, slots, step))
    load: Floats = parameters.mean_load_mw * growth * (clock + response) * noise_factor
    lowest = _LOWEST_SHARE * parameters.mean_load_mw
    return np.maximum(load, lowest).round(1)


def operator_forecast_mw(
    parameters: BiddingZoneParameters, noise: Noise, load: Floats, slots: Slots, step: int
) -> Floats:
    """The grid operator's forecast in MW: the load with errors that persist for hours and for weeks."""
    first, last, hour = int(slots[0]), int(slots[-1]) + 1, 3600 / step
    for_weeks = noise.wander("operator bias", first, last, 20 * 24 * hour)
    for_hours = noise.wander("operator error", first, last, 8 * hour)
    error = 0.5 * for_weeks + np.sqrt(0.75) * for_hours
    forecast: Floats = load * (1 + parameters.tso_mape_percent / 100 * _SD_OF_MAE * error)
    return forecast.round(1)


def _profile_demand(parameters: BiddingZoneParameters, calendar: SlotCalendar, slots: Slots) -> Floats:
    """The load profiles, weighted between weekday and Sunday by the share of the population that has a holiday."""
    local = calendar.local_seconds(slots)
    shares = (
        parameters.household_share,
        parameters.commerce_share,
        parameters.farm_share,
        parameters.industry_share,
    )
    workday, free = np.empty(len(slots)), np.empty(len(slots))
    years = local.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + _YEAR_ZERO
    for year in np.unique(years).tolist():
        here = years == year
        quarter = (local[here] - day_number(date(year, 1, 1)) * 86400) // PROFILE_STEP
        workday[here], free[here] = (profile[quarter] for profile in year_profiles(year, shares))
    holiday = calendar.holiday_share(calendar.local_day(slots))
    mixed: Floats = (1 - holiday) * workday + holiday * free
    return mixed


def _day_factor(parameters: BiddingZoneParameters, calendar: SlotCalendar, slots: Slots) -> Floats:
    """A factor for each slot: lower on bridge days, at the end of the year and in summer, higher in midwinter."""
    days, of_slot = np.unique(calendar.local_day(slots), return_inverse=True)
    around = np.arange(days[0] - 1, days[-1] + 2)
    weekday = (around + 3) % 7
    holiday = calendar.holiday_share(around)
    rest = (holiday >= _HOLIDAY) | (weekday >= _WEEKEND)
    bridge = ~rest[1:-1] & rest[:-2] & rest[2:] & ((holiday[:-2] >= _HOLIDAY) | (holiday[2:] >= _HOLIDAY))
    dates = [date(_YEAR_ZERO, 1, 1) + timedelta(days=int(day)) for day in days]
    year_end = np.array([(d.month, d.day) >= (12, 24) or (d.month, d.day) == (1, 1) for d in dates])
    of_year = np.array([d.timetuple().tm_yday for d in dates])
    factor = (
        1
        - parameters.bridge_day_percent / 100 * bridge
        - parameters.year_end_percent / 100 * year_end
        - parameters.summer_percent / 100 * _bell(of_year - _MIDSUMMER, 22)
        + parameters.winter_percent / 100 * _bell(of_year - _MIDWINTER, 45)
    )
    return np.asarray(factor, dtype=np.float64)[of_slot]


def _bell(days_off: Slots, width: float) -> Floats:
    """A Gaussian curve with maximum 1 at 0, continued over the turn of the year."""
    around = (days_off + _DAYS_IN_YEAR / 2) % _DAYS_IN_YEAR - _DAYS_IN_YEAR / 2
    hump: Floats = np.exp(-0.5 * (around / width) ** 2)
    return hump


def _weather_response(parameters: BiddingZoneParameters, truth: Weather, moments: Floats) -> Floats:
    """Heating and cooling demand less self-consumed solar power, as shares of the mean load."""
    inside = truth.at(moments, smoothed(truth.temperature, _BUILDING_HOURS))
    sun = truth.at(moments, truth.radiation) / 1000
    heating = parameters.heating_percent_per_kelvin / 100 * np.maximum(_HEATING_BELOW - inside, 0)
    cooling = parameters.cooling_percent_per_kelvin / 100 * np.maximum(inside - _COOLING_ABOVE, 0)
    response: Floats = heating + cooling - parameters.own_solar_percent / 100 * sun
    return response


def _random_term(parameters: BiddingZoneParameters, noise: Noise, slots: Slots, step: int) -> Floats:
    """The logarithm of a random factor that neither calendar nor weather explains."""
    first, last, hour = int(slots[0]), int(slots[-1]) + 1, 3600 / step
    chance: Floats = (
        parameters.noise_percent / 100 * noise.wander("demand", first, last, 10 * hour)
        + parameters.day_noise_percent / 100 * noise.wander("demand of days", first, last, 5 * 24 * hour)
        + parameters.fast_noise_percent / 100 * noise.white("demand of minutes", first, last)
    )
    return chance
