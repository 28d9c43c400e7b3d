"""Load profiles by the calendar: the BDEW's standard profiles and industrial shifts, from demandlib."""

from __future__ import annotations

import warnings
from datetime import time
from functools import lru_cache

import numpy as np
import pandas as pd
from demandlib.bdew import ElecSlp
from demandlib.particular_profiles import IndustrialLoadProfile
from scipy.ndimage import uniform_filter1d

from dualcast.arrays import Floats

PROFILE_STEP = 900
_BDEW = ("h0_dyn", "g0", "l0")
_SHIFTS = {
    "week": {"day": 1.0, "night": 0.85},
    "weekend": {"day": 0.755, "night": 0.755},
    "holiday": {"day": 0.72, "night": 0.72},
}
_SHIFT_BEGIN, _SHIFT_END = time(6), time(20)
# Shifts of different plants begin over three hours (in quarter-hours).
_SHIFT_SPREAD = 12


@lru_cache(maxsize=8)
def year_profiles(year: int, shares: tuple[float, float, float, float]) -> tuple[Floats, Floats]:
    """The demand of each local quarter-hour of a year, (n,) with mean near 1: by weekday, and if all were Sundays.

    ``shares`` of households, commerce, farms and industry add up to 1.
    """
    index = pd.date_range(f"{year}-01-01", f"{year + 1}-01-01", freq="15min", inclusive="left")
    workday, free = _columns(year, index, []), _columns(year, index, list(pd.unique(index.date)))
    sundays = index.dayofweek == 6
    level = workday[sundays].mean() / free[sundays].mean()
    weights = pd.Series(shares, index=workday.columns) / workday.mean()
    return (workday @ weights).to_numpy(), ((free * level) @ weights).to_numpy()


def _columns(year: int, index: pd.DatetimeIndex, sundays: list[object]) -> pd.DataFrame:
    """Each profile on the quarter-hours of a year, in its own scale; days in ``sundays`` count as Sundays."""
    with warnings.catch_warnings():  # demandlib turns all warnings of the process into errors
        profiles = ElecSlp(year, holidays=sundays).slp_frame[list(_BDEW)]
    industry = IndustrialLoadProfile(index, holidays=sundays).simple_profile(
        1.0, am=_SHIFT_BEGIN, pm=_SHIFT_END, weekend=[6], holiday=[0, 7], profile_factors=_SHIFTS
    )
    smooth = uniform_filter1d(industry.to_numpy(dtype=np.float64), _SHIFT_SPREAD, mode="nearest")
    return profiles.assign(industry=smooth)
