"""Weighted means of predictions, some of which may be unknown, and weights that fit best."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from dualcast.arrays import Floats

# With fewer rows on which all predictions are known, weights are not fitted.
_FEWEST_ROWS = 200
# The weight of the constraint that the weights sum to one.
_SUM = 1e3


def known_mean(predictions: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean over the first axis of what is known; NaN where nothing is.

    ``weights`` are one for each prediction, or broadcast against the predictions.
    """
    given = np.ones(len(predictions)) if weights is None else weights
    if given.ndim == 1:
        given = given.reshape(-1, *[1] * (predictions.ndim - 1))
    weight = np.where(np.isfinite(predictions), given, 0.0)
    total = weight.sum(axis=0)
    whole = (np.nan_to_num(predictions) * weight).sum(axis=0)
    return np.where(total > 0, whole / np.where(total > 0, total, 1.0), np.nan)


def convex_weights(predictions: Floats, target: Floats, prior: Floats, shrinkage: float) -> Floats:
    """Non-negative weights that sum to one and fit ``target`` (n,) best, for k predictions (n, k).

    ``shrinkage`` pulls them towards the ``prior`` weights, which are returned where too few rows are known.
    """
    known = np.isfinite(predictions).all(axis=1) & np.isfinite(target)
    if known.sum() < _FEWEST_ROWS:
        return prior
    errors = predictions[known] - target[known, np.newaxis]
    unit = np.sqrt((errors**2).mean())
    pull = np.sqrt(shrinkage * known.sum() / 100) * np.eye(len(prior))
    design = np.vstack([errors / unit, pull, np.full(len(prior), _SUM)])
    found, _ = nnls(design, np.concatenate([np.zeros(known.sum()), pull @ prior, [_SUM]]))
    weights: Floats = found / found.sum()
    return weights
