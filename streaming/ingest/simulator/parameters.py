"""The parameters of a simulated bidding zone: the ``simulation`` of an entity in the catalogue."""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationError

from dualcast.catalogue import Entity, Strict
from dualcast.observations.frames import SourceError


class BiddingZoneParameters(Strict):
    """Parameters of a bidding zone. Shares are fractions; percentages are of the mean load unless stated otherwise."""

    mean_load_mw: float = Field(gt=0, description="mean demand in the year 2020")
    seed: float = Field(1, ge=0, description="seed of all noise")
    growth_percent_per_year: float = Field(0.0, ge=-10, le=10)

    household_share: float = Field(0.18, ge=0, description="of the mean demand, by the BDEW profile H0, dynamic")
    commerce_share: float = Field(0.09, ge=0, description="BDEW profile G0")
    farm_share: float = Field(0.01, ge=0, description="BDEW profile L0; the rest is industry")

    bridge_day_percent: float = Field(6.0, ge=0, description="less on a workday between a holiday and a weekend")
    year_end_percent: float = Field(9.0, ge=0, description="less from 24 December to 1 January")
    summer_percent: float = Field(3.0, ge=0, description="less in the weeks of the summer holidays")
    winter_percent: float = Field(2.5, ge=0, description="more in midwinter, besides heating: light, pumps")

    heating_percent_per_kelvin: float = Field(0.5, ge=0, description="more for each kelvin below 15 degrees")
    cooling_percent_per_kelvin: float = Field(0.5, ge=0, description="more for each kelvin above 21 degrees")
    own_solar_percent: float = Field(5.0, ge=0, description="less at 1000 W/m2: generation behind the meter")

    noise_percent: float = Field(1.85, ge=0, description="standard deviation of noise that persists for hours")
    day_noise_percent: float = Field(1.1, ge=0, description="standard deviation of noise that persists for days")
    fast_noise_percent: float = Field(0.12, ge=0, description="standard deviation from one interval to the next")
    load_glitches_per_year: float = Field(1.0, ge=0, description="meter readings ten times too low, corrected next day")

    tso_mape_percent: float = Field(3.5, ge=0, description="mean absolute error of the operator's forecast")
    tso_glitches_per_year: float = Field(1.0, ge=0, description="hours in which that forecast is ten times too high")
    tso_missing_days_per_year: float = Field(1.5, ge=0, description="delivery days without that forecast")

    mean_temperature_celsius: float | None = Field(None, description="of the year; default: by latitude")
    season_temperature_kelvin: float = Field(9.0, description="half of the difference of midsummer and midwinter")
    day_temperature_kelvin: float = Field(4.0, description="half of the difference of afternoon and night in summer")
    weather_noise_kelvin: float = Field(3.4, ge=0, description="standard deviation of warm and cold spells")
    mean_wind_speed_m_per_s: float = Field(7.0, gt=0, description="at hub height")
    weather_error: float = Field(1.0, ge=0, description="1: about 1 K, 25% of radiation, 15% of wind a day ahead")

    wind_share: float = Field(1.1, ge=0, description="installed wind power, of the mean load")
    solar_share: float = Field(1.2, ge=0, description="installed photovoltaics, of the mean load")
    mean_price_eur_per_mwh: float = Field(75.0, gt=0)

    @property
    def industry_share(self) -> float:
        """The share that households, commerce and farms leave."""
        return 1.0 - self.household_share - self.commerce_share - self.farm_share

    @classmethod
    def of(cls, entity: Entity) -> Self:
        """From the catalogue. Raises SourceError, which names the entity and each wrong parameter."""
        try:
            return cls.model_validate(entity.simulation)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
            known = ", ".join(cls.model_fields)
            raise SourceError(f"entity {entity.id}: simulation: {faults}; known: {known}") from error
