"""Accuracy of forecasts: errors, pinball loss, coverage, skill."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dualcast.arrays import Floats


def mape(actual: Floats, forecast: Floats) -> float:
    """Mean absolute percentage error in %, over the actuals that are not zero."""
    some = np.abs(actual) > 1e-9
    return float(100 * np.mean(np.abs((forecast[some] - actual[some]) / actual[some])))


def wape(actual: Floats, forecast: Floats) -> float:
    """Sum of the absolute errors over the sum of the absolute actuals, in %."""
    return float(100 * np.abs(forecast - actual).sum() / np.abs(actual).sum())


def mae(actual: Floats, forecast: Floats) -> float:
    """Mean absolute error, in the unit of the values."""
    return float(np.mean(np.abs(forecast - actual)))


def rmse(actual: Floats, forecast: Floats) -> float:
    """Root mean squared error, in the unit of the values."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def pinball(actual: Floats, quantiles: Mapping[float, Floats]) -> float:
    """Mean pinball loss over all levels, in the unit of the values (Koenker and Bassett, 1978).

    Each level counts where it is known; one that is NaN everywhere does not count.
    """
    losses = []
    for level, values in quantiles.items():
        known = np.isfinite(values)
        error = actual[known] - values[known]
        if known.any():
            losses.append(np.mean(np.maximum(level * error, (level - 1) * error)))
    return float(np.mean(losses))


def coverage(actual: Floats, low: Floats, high: Floats) -> float:
    """Share of the actuals within [low, high], in %, where both bounds are known; NaN where they never are."""
    known = np.isfinite(low) & np.isfinite(high)
    return float(100 * np.mean(((actual >= low) & (actual <= high))[known])) if known.any() else math.nan


def skill(actual: Floats, forecast: Floats, baseline: Floats) -> float:
    """1 - MAE / MAE of the baseline, where the baseline is known: 0 is no better, 1 is perfect."""
    known = np.isfinite(baseline)
    return 1 - mae(actual[known], forecast[known]) / mae(actual[known], baseline[known])
