"""Simulated day-ahead price of a zone: a merit-order curve over the expected residual load."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Floats
from streaming.ingest.simulator.noise import Noise
from streaming.ingest.simulator.parameters import BiddingZoneParameters
from streaming.ingest.simulator.weather import Weather

_RATED_WIND = 13.0
_FULL_SUN = 900.0
_LOWEST, _HIGHEST = -500.0, 4000.0


def price_eur_per_mwh(
    parameters: BiddingZoneParameters, noise: Noise, expected_load: Floats, forecast: Weather
) -> Floats:
    """The price of each hour of ``forecast`` (n,), from the load (n,) and the weather expected for it, in EUR/MWh."""
    wind = parameters.wind_share * np.minimum(forecast.wind_speed / _RATED_WIND, 1) ** 3
    solar = parameters.solar_share * np.minimum(forecast.radiation / _FULL_SUN, 1)
    residual = expected_load / parameters.mean_load_mw - wind - solar
    first = forecast.first
    fluctuation = 0.10 * noise.wander("price", first, first + len(residual), 6)
    fuel = 0.25 * noise.wander("fuel", first, first + len(residual), 60 * 24)
    price = np.exp(fuel) * (1 + 1.5 * (residual - 0.7) + np.exp(6 * (residual - 1.15)) + fluctuation)
    in_bounds: Floats = np.clip(parameters.mean_price_eur_per_mwh * price, _LOWEST, _HIGHEST).round(2)
    return in_bounds
