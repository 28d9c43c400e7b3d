"""Likeness to days of the past, by which a ridge follows what is not linear.

How much an error of this morning says of this evening depends on the season, the kind of day, the shape of the curve:
of everything, a little. A ridge that also knows how like a row is to some rows it learned from, its landmarks, comes
near a Gaussian process with a squared exponential kernel (Williams and Seeger, Using the Nystroem method to speed up
kernel machines, 2001), yet stays a ridge: fast, and with leave-one-out residuals in closed form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats

# What is no level tells the season and the holidays; likeness there counts for so many levels.
_CALENDAR = 4.0
# Landmarks that are nearly the same count as one.
_SAME = 1e-6

# Stored as half-precision numbers, which they are rounded to before anything is learned of them.
Landmarks = NDArray[np.float16] | NDArray[np.float32]


def places(scaled: Floats, level: NDArray[np.bool_]) -> Floats:
    """Regressors (n, p) in spreads from the usual, so that two rows lie about 1 apart in each direction of all."""
    count = np.where(level, 1.0, _CALENDAR)
    out: Floats = scaled * np.sqrt(count / count.sum()).astype(scaled.dtype)
    return out


def landmarks(where: Floats, count: int) -> Landmarks:
    """``count`` places of n, in even steps."""
    return where[np.linspace(0, len(where) - 1, count).astype(np.int64)].astype(np.float16)


def likeness(where: Floats, marks: Landmarks) -> Floats:
    """How like (n, p) places are to (m, p) landmarks, (n, m): 1 where they are the same."""
    at = marks.astype(where.dtype, copy=False)
    distance = (where**2).sum(axis=1)[:, np.newaxis] + (at**2).sum(axis=1) - 2 * where @ at.T
    out: Floats = np.exp(-0.5 * np.maximum(distance, 0.0))
    return out


def evened(marks: Landmarks) -> Floats:
    """What makes likenesses to landmarks regressors of which each is expected to say as much as any, (m, m)."""
    values, vectors = np.linalg.eigh(likeness(marks.astype(np.float64), marks))
    out: Floats = vectors / np.sqrt(np.maximum(values, 0.0) + _SAME)
    return out
