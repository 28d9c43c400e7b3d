"""Means of what several learners say, where some of them may say nothing."""

from __future__ import annotations

import numpy as np

from models.inputs import Floats


def known_mean(said: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean over the first axis of what is known; NaN where nothing is."""
    given = np.ones(len(said)) if weights is None else weights
    weight = np.where(np.isfinite(said), given.reshape(-1, *[1] * (said.ndim - 1)), 0.0)
    total = weight.sum(axis=0)
    whole = (np.nan_to_num(said) * weight).sum(axis=0)
    return np.where(total > 0, whole / np.where(total > 0, total, 1.0), np.nan)
