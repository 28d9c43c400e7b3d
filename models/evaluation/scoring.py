"""Scores of published forecasts against actuals, the reference forecast and a naive one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import pandas as pd

from dualcast import metrics
from dualcast.arrays import Floats
from dualcast.catalogue import MEDIAN, Path_, UseCase
from dualcast.curves.quantiles import quantile_column, quantile_columns, quantile_level
from models.evaluation.joining import horizons, join_actuals

POINT = quantile_column(MEDIAN)  # the median is the point forecast
ALL = "all"


@dataclass(frozen=True)
class Errors:
    """Errors of point forecasts: mae, rmse, bias in the unit of the target, mape, wape in %, None if actuals are 0."""

    n: int
    mape: float | None
    wape: float | None
    mae: float
    rmse: float
    bias: float

    @classmethod
    def of(cls, actual: Floats, forecast: Floats) -> Self | None:
        """The errors where both are known; None where they nowhere are."""
        known = np.isfinite(actual) & np.isfinite(forecast)
        if not known.any():
            return None
        y, f = actual[known], forecast[known]
        positive = np.abs(y) > 1e-9
        return cls(
            n=len(y),
            mape=metrics.mape(y, f) if positive.any() else None,
            wape=metrics.wape(y, f) if positive.any() else None,
            mae=metrics.mae(y, f),
            rmse=metrics.rmse(y, f),
            bias=float(np.mean(f - y)),
        )


@dataclass(frozen=True)
class Score:
    """Scores of a group of forecasts: mape, wape, coverage in %, others in the unit of the target; None if unknown."""

    n: int
    mape: float | None
    wape: float | None
    mae: float
    rmse: float
    bias: float
    pinball: float
    coverage: float | None
    reference_mape: float | None
    reference_mae: float | None
    naive_mape: float | None
    naive_mae: float | None
    skill: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return {k: None if v is None else round(v, 4) for k, v in asdict(self).items()}

    def cells(self) -> list[str]:
        """For a table."""
        numbers = (self.mae, self.rmse, self.bias, self.pinball)
        return [
            f"{self.n:,}",
            _cell(self.mape, ".2f"),
            *(_cell(x, ",.4g" if abs(x) < 100 else ",.0f") for x in numbers),
            _cell(self.coverage, ".1f"),
            _cell(self.reference_mape, ".2f"),
            _cell(self.naive_mape, ".2f"),
            _cell(self.skill, ".2f"),
        ]


def scores_by_group(use_case: UseCase, path: Path_, forecasts: pd.DataFrame, actuals: pd.DataFrame) -> dict[str, Score]:
    """Scores of all forecasts, then by local hour (day-ahead) or by horizon (intraday).

    Raises FaultyForecastsError where no forecast has an actual.
    """
    joined = join_actuals(use_case, path, forecasts, actuals)
    groups = joined["local"].dt.strftime("%H:%M") if path == "day-ahead" else horizons(joined)
    return {ALL: score(joined)} | by_group(joined, groups)


def by_group(joined: pd.DataFrame, groups: pd.Series) -> dict[str, Score]:
    """The scores of groups of joined forecasts, in the order of their names."""
    return {str(key): score(group) for key, group in joined.groupby(groups, sort=True)}


def score(joined: pd.DataFrame) -> Score:
    """The scores of joined forecasts."""
    actual, reference, naive, low, high = (
        joined[c].to_numpy(np.float64) for c in ("actual", "reference", "naive", "low", "high")
    )
    point = joined[POINT].to_numpy(np.float64)
    quantiles = {quantile_level(c): joined[c].to_numpy(dtype=np.float64) for c in quantile_columns(joined)}
    ours, theirs, last_week = (Errors.of(actual, forecast) for forecast in (point, reference, naive))
    assert ours is not None
    return Score(
        **asdict(ours),
        pinball=metrics.pinball(actual, quantiles),
        coverage=None if np.isnan(inside := metrics.coverage(actual, low, high)) else inside,
        reference_mape=None if theirs is None else theirs.mape,
        reference_mae=None if theirs is None else theirs.mae,
        naive_mape=None if last_week is None else last_week.mape,
        naive_mae=None if last_week is None else last_week.mae,
        skill=metrics.skill(actual, point, reference) if theirs is not None else None,
    )


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
