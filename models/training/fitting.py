"""Fitting: hold out the newest days, score and calibrate on them, then fit the final model on all examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast import metrics
from dualcast.arrays import Floats
from dualcast.catalogue import Path_, QuantileLevels, UseCase
from dualcast.curves.quantiles import quantile_column
from dualcast.features.holidays import SATURDAY, SUNDAY, WORKDAY
from dualcast.features.intraday.plan import feature_set
from models.forecasters.registry import Forecaster, Weights, make_forecaster
from models.inputs import Assembler, Layout, ModelInputs, feature, idle, per_target
from models.intervals.conformal import ConformalIntervals
from models.learners.feature_sets import known_features
from models.prediction.model import ForecastModel

# Days held out: long enough for a quantile in every part of the day, short enough to be recent. At most this share.
_HELD_OUT = {"day-ahead": timedelta(days=120), "intraday": timedelta(days=42)}
_MOST_HELD_OUT = 0.25
# The number of parts of the day with intervals of their own.
_PARTS = {"day-ahead": 24, "intraday": 8}
_FEWEST_EXAMPLES = 50
_KINDS_OF_DAYS = {"workday": WORKDAY, "saturday": SATURDAY, "sunday_or_holiday": SUNDAY}


class TooFewExamplesError(ValueError):
    """There is too little history to train on."""


@dataclass(frozen=True)
class Examples:
    """Training examples: n rows, their valid_time (n,), and the actuals (n, H), NaN where unknown."""

    inputs: ModelInputs
    valid_time: NDArray[np.datetime64]
    actual: Floats

    @classmethod
    def of(cls, layout: Layout, use_case: UseCase, frame: pd.DataFrame, target: str) -> Examples:
        """From a training frame with the column ``target``: rows without scale or without any actual are left out."""
        inputs = Assembler(layout, use_case.entities).from_frame(frame)
        actual = np.where(idle(layout, inputs), np.nan, per_target(frame[target], layout.horizons))
        valid_time = frame["valid_time"].dt.tz_convert(None).to_numpy(dtype="datetime64[us]")
        sound = np.isfinite(inputs.scale) & np.isfinite(actual).any(axis=1)
        rows = np.flatnonzero(sound)
        rows = rows[np.argsort(valid_time[rows], kind="stable")]
        return cls(inputs.take(rows), valid_time[rows], actual[rows])

    @property
    def target(self) -> Floats:
        """What forecasters predict: actuals divided by the scale."""
        return self.actual / self.inputs.scale[:, np.newaxis]

    def take(self, rows: slice) -> Examples:
        """Some of the examples."""
        return Examples(self.inputs.take(rows), self.valid_time[rows], self.actual[rows])


@dataclass(frozen=True)
class Fitted:
    """A model fitted on all examples, and the scores on the held-out days of one that was fitted without them."""

    model: ForecastModel
    metrics: dict[str, float]
    examples: int
    held_out: int


def fit_model(use_case: UseCase, path: Path_, layout: Layout, examples: Examples, threads: int) -> Fitted:
    """Train the use case's forecaster of a path. Raises TooFewExamplesError, ForecasterError."""
    part = use_case.part(path)
    cut = _cut(examples, path)
    before, newest = examples.take(slice(None, cut)), examples.take(slice(cut, None))
    # targets of the last origins before the cut lie in the held-out days: a gap of one day separates them
    gap = int(np.searchsorted(before.valid_time, before.valid_time[-1] - np.timedelta64(1, "D")))
    trial = _fitted(use_case, path, layout, before.take(slice(None, max(gap, 1))), threads)
    weights = trial.weigh(newest.inputs, newest.target)
    residuals = newest.target - trial.predict(newest.inputs)
    intervals = _intervals(layout, newest.inputs, residuals, part.quantiles)
    model = ForecastModel(
        layout=layout,
        entities=use_case.entities,
        name=part.forecaster.name,
        params=part.forecaster.params,
        forecaster=_fitted(use_case, path, layout, examples, threads, weights),
        intervals=intervals,
        known=known_features(layout, examples.inputs),
        feature_set=feature_set(use_case) if path == "intraday" else "",
    )
    scores = _scores(layout, newest, residuals, part)
    return Fitted(model, scores, len(examples.inputs), len(newest.inputs))


def _cut(examples: Examples, path: Path_) -> int:
    """The index of the first example that is held out."""
    count = len(examples.inputs)
    if count < _FEWEST_EXAMPLES:
        raise TooFewExamplesError(f"only {count} rows with features and actuals; {_FEWEST_EXAMPLES} are needed")
    first, last = examples.valid_time[0], examples.valid_time[-1]
    held_out = min(np.timedelta64(_HELD_OUT[path]), (last - first) * _MOST_HELD_OUT)
    return int(np.searchsorted(examples.valid_time, last - held_out))


def _fitted(
    use_case: UseCase, path: Path_, layout: Layout, examples: Examples, threads: int, weights: Weights | None = None
) -> Forecaster:
    spec = use_case.part(path).forecaster
    made = make_forecaster(spec.name, layout, spec.params)
    made.fit(examples.inputs, examples.target, threads, weights)
    return made


def _intervals(layout: Layout, inputs: ModelInputs, residuals: Floats, levels: Sequence[float]) -> ConformalIntervals:
    return ConformalIntervals.fit(residuals, inputs.clock, levels, layout.slots_per_day, _PARTS[layout.path])


def _scores(layout: Layout, newest: Examples, residuals: Floats, part: QuantileLevels) -> dict[str, float]:
    """Errors on the held-out days; coverage and pinball on their second half, with intervals of the first."""
    point = newest.actual - residuals * newest.inputs.scale[:, np.newaxis]
    half = len(newest.inputs) // 2
    early, late = newest.inputs.take(slice(None, half)), newest.inputs.take(slice(half, None))
    intervals = _intervals(layout, early, residuals[:half], part.quantiles)
    quantiles = intervals.apply(point[half:], late.scale, late.clock)
    out = _errors("", newest.actual, point) | _spread(newest.actual[half:], quantiles, part)
    for suffix, mine in _groups(layout, newest):
        out |= _errors(suffix, newest.actual[mine], point[mine])
    if layout.reference is not None:
        out |= _reference_errors(layout, newest)
    return out


def _groups(layout: Layout, newest: Examples) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Groups of targets (n, H) that are scored: by step or time of day, by month, by kind of day."""
    shape = newest.actual.shape
    if layout.path == "intraday":
        steps = np.broadcast_to(np.arange(layout.horizons), shape)
        yield from ((f"_step_{step + 1:02d}", steps == step) for step in range(layout.horizons))
    elif layout.slots_per_day > 1:
        yield from ((f"_slot_{slot:02d}", newest.inputs.clock == slot) for slot in range(layout.slots_per_day))
    months = newest.valid_time.astype("datetime64[M]")
    for month in np.unique(months):
        yield f"_month_{month}", np.broadcast_to((months == month)[:, np.newaxis], shape)
    if layout.day_type is not None:
        kinds = newest.inputs.values[:, :, layout.column[layout.day_type]]
        yield from ((f"_{name}", kinds == kind) for name, kind in _KINDS_OF_DAYS.items())


def _reference_errors(layout: Layout, newest: Examples) -> dict[str, float]:
    """The errors of the reference forecast, where it is a feature at the target."""
    assert layout.reference is not None
    out: dict[str, float] = {}
    for name in layout.at_target[layout.reference][:1]:
        values = feature(layout, newest.inputs, name)
        unit = newest.inputs.scale[:, np.newaxis] if name in layout.levels else 1.0
        out |= _errors("_reference", newest.actual, values * unit)
    return out


def _errors(suffix: str, actual: Floats, point: Floats) -> dict[str, float]:
    known = np.isfinite(actual) & np.isfinite(point)
    if not known.any():
        return {}
    a, p = actual[known], point[known]
    out = {f"mae{suffix}": metrics.mae(a, p), f"rmse{suffix}": metrics.rmse(a, p)}
    return out | ({f"mape{suffix}": metrics.mape(a, p)} if (np.abs(a) > 0).any() else {})


def _spread(actual: Floats, quantiles: Floats, part: QuantileLevels) -> dict[str, float]:
    known = np.isfinite(actual) & np.isfinite(quantiles[:, :, 0])
    if not known.any():
        return {}
    by_level = {level: quantiles[:, :, i][known] for i, level in enumerate(part.quantiles)}
    low, high = part.interval
    return {
        "pinball": metrics.pinball(actual[known], by_level),
        f"coverage_{quantile_column(low)}_{quantile_column(high)}": metrics.coverage(
            actual[known], by_level[low], by_level[high]
        ),
    }
