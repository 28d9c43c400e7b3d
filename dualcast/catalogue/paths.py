"""The two paths of a use case, day-ahead and intraday: grid, features, forecaster and quality limits."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dualcast.catalogue.base import Duration, Strict
from dualcast.catalogue.features import Features

Path_ = Literal["day-ahead", "intraday"]
PathIdentifier = Literal["day_ahead", "intraday"]
_IDENTIFIERS: dict[Path_, PathIdentifier] = {"day-ahead": "day_ahead", "intraday": "intraday"}
MEDIAN = 0.5
MOST_HORIZONS = 400


def path_identifier(path: Path_) -> PathIdentifier:
    """The spelling of a path in records, tables, folders and attributes, where it must be an identifier."""
    return _IDENTIFIERS[path]


def path_of(identifier: str) -> Path_:
    """The path with this identifier. Raises ValueError for any other text."""
    for path, name in _IDENTIFIERS.items():
        if name == identifier:
            return path
    raise ValueError(f"{identifier!r} is not the identifier of a path: {', '.join(_IDENTIFIERS.values())}")


class ForecasterSpec(Strict):
    """The name of a forecaster in ``models/forecasters/``, and its parameters."""

    name: str
    params: dict[str, Any] = Field({}, description="its own parameters")


def _rising(ratio: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ratio[0] < ratio[1]:
        raise ValueError("give the lower bound, then the upper")
    return ratio


Ratio = Annotated[tuple[float, float], AfterValidator(_rising)]


class CurveQuality(Strict):
    """Limits of a plausible curve, as ratios to past values, checked before publication. Unknown ratios pass."""

    level: Ratio | None = Field(None, description="mean of the curve to that of the actuals a week before")
    ramp: Ratio | None = Field(
        None, description="largest step between two intervals to that of the actuals a week before"
    )
    width: Ratio | None = Field(None, description="mean width of the widest interval to the median of earlier curves")
    usual: Duration = Field(timedelta(days=28), description="the time before issue in which earlier curves count")


class QuantileLevels(Strict):
    """The quantiles of a path's curves, and which of them are shown and scored."""

    quantiles: tuple[float, ...]
    interval: tuple[float, float] = Field(
        (0.1, 0.9),
        description="the two levels that bound the interval that is shown and whose coverage is scored",
    )

    @property
    def shown_levels(self) -> tuple[float, float, float]:
        """The lower bound of the interval, the median, and the upper bound."""
        return self.interval[0], MEDIAN, self.interval[1]

    @model_validator(mode="after")
    def _shown_levels_are_forecast(self) -> Self:
        if list(self.quantiles) != sorted(set(self.quantiles)) or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError("quantiles must rise, between 0 and 1")
        low, _, high = self.shown_levels
        if not low < MEDIAN < high:
            raise ValueError(f"the interval {low:g} to {high:g} does not hold the median")
        missing = [f"{level:g}" for level in self.shown_levels if level not in self.quantiles]
        if missing:
            raise ValueError(f"quantiles must hold the median and the interval; missing: {', '.join(missing)}")
        return self


class DayAhead(QuantileLevels):
    """The batch path: a curve once a day, for every interval of tomorrow or of several days from tomorrow."""

    resolution: Duration
    days: int = Field(1, ge=1, le=31, description="number of local days in a curve, from the delivery day on")
    cutoff: time
    measurement_delay: Duration = Field(timedelta(0), description="observed values younger than this are not used")
    lookback: Duration
    features: Features
    scale: str | None = Field(None, description="feature that levels are divided by before they reach a model")
    forecaster: ForecasterSpec
    quality: CurveQuality = CurveQuality()
    training_days: int = Field(1095, gt=0)
    optional: tuple[str, ...] = Field((), description="variables without which the forecast is made, but degraded")
    fallbacks: tuple[Literal["degraded_inputs", "last_stored"], ...] = ("degraded_inputs", "last_stored")


class Intraday(QuantileLevels):
    """The streaming path: a curve of the coming hours every few minutes."""

    resolution: Duration
    horizons: int = Field(gt=0, le=MOST_HORIZONS)
    lookback: Duration
    ahead: Duration = Field(timedelta(days=2), description="how far ahead external forecasts are kept")
    features: Features
    scale: str | None = None
    forecaster: ForecasterSpec
    training_days: int = Field(730, gt=0)
    max_feature_age: Duration = Field(timedelta(hours=1), description="older features make a forecast degraded")
    optional: tuple[str, ...] = ()
    fallbacks: tuple[Literal["previous_version", "shifted_day_ahead", "last_stored"], ...] = (
        "previous_version",
        "shifted_day_ahead",
        "last_stored",
    )
