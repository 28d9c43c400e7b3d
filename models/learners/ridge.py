"""Ridge regression of one group of rows: plain, robust against outliers, and with kernel features."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Floats
from models.learners.kernels import Landmarks, gaussian_kernel, whitening_matrix

# With fewer rows than this nothing is fitted.
FEWEST_ROWS = 30
# A regressor whose standard deviation is smaller is a constant.
CONSTANT = 1e-9
# Leverage is capped here, so that the leave-one-out residual of a row that decides a coefficient alone stays finite.
_MAX_LEVERAGE = 0.9
# Outliers are looked for at most so many times.
_ROUNDS = 3
# The penalty of a kernel feature, relative to the inverse of its variance.
_KERNEL_PENALTY = 0.5


def kernel_ridge(
    landmarks: Landmarks, inputs: Floats, design: Floats, y: Floats, alpha: Floats, outlier: float
) -> tuple[Floats, Floats]:
    """As ``robust_ridge``, with kernel values of ``inputs`` (n, q) and landmarks as further regressors.

    Their coefficients stand between those of the design and the constant.
    """
    whitening = whitening_matrix(landmarks)
    features = gaussian_kernel(inputs, landmarks) @ whitening
    # unlike other regressors, kernel features are not standardised: one that hardly varies should count for little
    penalty = _KERNEL_PENALTY / np.maximum(features.var(axis=0), CONSTANT)
    found, fitted = robust_ridge(np.hstack([design, features]), y, np.append(alpha, penalty), outlier)
    of_design, of_features = np.split(found[:-1], [design.shape[1]])
    return np.concatenate([of_design, whitening @ of_features, found[-1:]]), fitted


def robust_ridge(design: Floats, y: Floats, alpha: Floats, outlier: float) -> tuple[Floats, Floats]:
    """As ``ridge``, refitted without rows whose residual is more than ``outlier`` times the root mean square.

    The fitted values of these rows are predictions of a regression that was not fitted on them.
    """
    kept = np.ones(len(y), dtype=bool)
    weights, fitted = ridge(design, y, alpha)
    for _ in range(_ROUNDS - 1 if np.isfinite(outlier) else 0):
        residual = np.abs(y - fitted)
        near = residual <= outlier * np.sqrt(np.mean(residual[kept] ** 2))
        if (near == kept).all() or near.sum() < FEWEST_ROWS:
            break
        kept = near
        weights, of_kept = ridge(design[kept], y[kept], alpha)
        fitted = design @ weights[:-1] + weights[-1]
        fitted[kept] = of_kept
    return weights, fitted


def ridge(design: Floats, y: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Coefficients with the constant last, and leave-one-out predictions of the rows.

    ``alpha`` is the penalty of each standardised regressor.
    """
    centre, deviation = design.mean(axis=0), design.std(axis=0)
    deviation = np.where(deviation > CONSTANT, deviation, np.inf)
    scaled = (design - centre) / deviation
    level = y.mean()
    inverse = np.linalg.inv(scaled.T @ scaled + np.diag(alpha))
    slope = inverse @ (scaled.T @ (y - level))
    leverage = ((scaled @ inverse) * scaled).sum(axis=1) + 1 / len(y)
    residual = (y - level - scaled @ slope) / (1 - np.minimum(leverage, _MAX_LEVERAGE))
    weights = slope / deviation
    return np.append(weights, level - centre @ weights), y - residual
