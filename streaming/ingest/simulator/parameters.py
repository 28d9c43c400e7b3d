"""The parameters of a simulated bidding zone: the ``simulation`` of an entity in the catalogue."""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationError

from dualcast.catalogue import Entity, Strict
from dualcast.observations.frames import SourceError


class BiddingZoneParameters(Strict):
    """Parameters of a bidding zone. Shares are fractions; percentages refer to the mean load by default."""

    mean_load_mw: float = Field(gt=0, description="mean demand in the year 2020")
    seed: float = Field(1, ge=0, description="seed of all noise")
    growth_percent_per_year: float = Field(0.0, ge=-10, le=10)

    household_share: float = Field(0.18, ge=0, description="share of mean demand with the dynamic BDEW profile H0")
    commerce_share: float = Field(0.09, ge=0, description="share with the BDEW profile G0")
    farm_share: float = Field(0.01, ge=0, description="share with the BDEW profile L0; the rest is industry")

    bridge_day_percent: float = Field(6.0, ge=0, description="decrease on a workday between a holiday and a weekend")
    year_end_percent: float = Field(9.0, ge=0, description="decrease from 24 December to 1 January")
    summer_percent: float = Field(3.0, ge=0, description="decrease in the weeks of the summer holidays")
    winter_percent: float = Field(2.5, ge=0, description="increase in midwinter without heating: light, pumps")

    heating_percent_per_kelvin: float = Field(0.5, ge=0, description="increase per kelvin below 15 degrees Celsius")
    cooling_percent_per_kelvin: float = Field(0.5, ge=0, description="increase per kelvin above 21 degrees Celsius")
    own_solar_percent: float = Field(5.0, ge=0, description="decrease at 1000 W/m2, by generation behind the meter")

    noise_percent: float = Field(1.85, ge=0, description="standard deviation of noise that persists for hours")
    day_noise_percent: float = Field(1.1, ge=0, description="standard deviation of noise that persists for days")
    fast_noise_percent: float = Field(0.12, ge=0, description="standard deviation from one interval to the next")
    load_glitches_per_year: float = Field(1.0, ge=0, description="readings ten times too low, corrected the next day")

    tso_mape_percent: float = Field(3.5, ge=0, description="mean absolute error of the operator's forecast")
    tso_glitches_per_year: float = Field(1.0, ge=0, description="faults with a forecast ten times too high")
    tso_missing_days_per_year: float = Field(1.5, ge=0, description="delivery days without the operator's forecast")

    mean_temperature_celsius: float | None = Field(None, description="annual mean; default: by latitude")
    season_temperature_kelvin: float = Field(9.0, description="half the difference between midsummer and midwinter")
    day_temperature_kelvin: float = Field(4.0, description="half the difference between afternoon and night in summer")
    weather_noise_kelvin: float = Field(3.4, ge=0, description="standard deviation of warm and cold spells")
    mean_wind_speed_m_per_s: float = Field(7.0, gt=0, description="annual mean at hub height")
    weather_error: float = Field(1.0, ge=0, description="day-ahead error; 1: about 1 K, 25% of radiation, 15% of wind")

    wind_share: float = Field(1.1, ge=0, description="installed wind power, relative to the mean load")
    solar_share: float = Field(1.2, ge=0, description="installed photovoltaic power, relative to the mean load")
    mean_price_eur_per_mwh: float = Field(75.0, gt=0)

    @property
    def industry_share(self) -> float:
        """The share of industry: the demand that is not of households, commerce or farms."""
        return 1.0 - self.household_share - self.commerce_share - self.farm_share

    @classmethod
    def of(cls, entity: Entity) -> Self:
        """Read the parameters of an entity. Raises SourceError, which names the entity and each wrong parameter."""
        try:
            return cls.model_validate(entity.simulation)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
            known = ", ".join(cls.model_fields)
            raise SourceError(f"entity {entity.id}: simulation: {faults}; known: {known}") from error
