"""Means of what several learners say, where some of them may say nothing."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from dualcast.arrays import Floats

# With fewer rows on which all are known, weights are not learned.
_FEWEST_ROWS = 200
# How strongly the weights are held to a sum of one.
_SUM = 1e3


def known_mean(said: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean over the first axis of what is known; NaN where nothing is.

    ``weights`` are one for each, or broadcast against what is said.
    """
    given = np.ones(len(said)) if weights is None else weights
    if given.ndim == 1:
        given = given.reshape(-1, *[1] * (said.ndim - 1))
    weight = np.where(np.isfinite(said), given, 0.0)
    total = weight.sum(axis=0)
    whole = (np.nan_to_num(said) * weight).sum(axis=0)
    return np.where(total > 0, whole / np.where(total > 0, total, 1.0), np.nan)


def convex_weights(said: Floats, target: Floats, usual: Floats, caution: float) -> Floats:
    """Non-negative weights that sum to one and come closest to ``target`` (n,), for what k learners said (n, k).

    ``caution`` draws them towards the ``usual`` ones, which are returned where too few rows are known.
    """
    known = np.isfinite(said).all(axis=1) & np.isfinite(target)
    if known.sum() < _FEWEST_ROWS:
        return usual
    errors = said[known] - target[known, np.newaxis]
    unit = np.sqrt((errors**2).mean())
    pull = np.sqrt(caution * known.sum() / 100) * np.eye(len(usual))
    design = np.vstack([errors / unit, pull, np.full(len(usual), _SUM)])
    found, _ = nnls(design, np.concatenate([np.zeros(known.sum()), pull @ usual, [_SUM]]))
    weights: Floats = found / found.sum()
    return weights
