"""A baseline from the newest measured value: the reference forecast, corrected by its newest error."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Floats
from models.inputs import Layout, ModelInputs, feature

# The median absolute value of normally distributed numbers, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6745
_TINY = 1e-6


class ReferenceErrorBaseline:
    """The baseline that trees and nets correct, (n, H): reference forecast plus what persists of its newest error.

    The newest error is that of the newest measured value; one larger than ``max_error`` may be wrong, and is clipped.
    Without a reference forecast the baseline is the newest value; 0 without that.
    """

    def __init__(self, layout: Layout, clip: float) -> None:
        """``clip``: the largest error to believe, in robust standard deviations."""
        self._layout = layout
        self._clip = clip
        self.max_error = np.inf
        # (H,) the share of the newest error that is left at each horizon, from 0 to 1
        self.persistence: Floats = np.ones(layout.horizons)

    def fit(self, inputs: ModelInputs, target: Floats) -> None:
        """Estimate the largest error and its persistence, where there is a reference forecast."""
        anchor, reference = self._layout.anchor, self._layout.reference_anchor
        if anchor is None or reference is None or self._layout.reference_at_target is None:
            return
        error = self._of(anchor, inputs) - self._of(reference, inputs)
        self.max_error = float(self._clip * robust_scale(error[:, :1])[0])
        now, later = self._clipped(error), self._clipped(target - self._of(self._layout.reference_at_target, inputs))
        products = np.where(np.isfinite(now * later), [now * later, now**2], 0.0).sum(axis=1)
        self.persistence = np.clip(products[0] / np.maximum(products[1], _TINY), 0.0, 1.0)

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) baselines, 0 where nothing is known."""
        layout = self._layout
        if layout.anchor is None:
            return np.zeros(inputs.clock.shape)
        newest = self._of(layout.anchor, inputs)
        if layout.reference_at_target is None or layout.reference_anchor is None:
            return np.nan_to_num(newest)
        before, ahead = self._of(layout.reference_anchor, inputs), self._of(layout.reference_at_target, inputs)
        left = np.nan_to_num(self._clipped(newest - before) * self.persistence)
        newest = np.where(np.isnan(before), newest, before + left)
        return np.nan_to_num(newest) + np.nan_to_num(ahead - before)

    def _of(self, name: str, inputs: ModelInputs) -> Floats:
        return feature(self._layout, inputs, name)

    def _clipped(self, error: Floats) -> Floats:
        return np.clip(error, -self.max_error, self.max_error)


def robust_scale(residual: Floats) -> Floats:
    """The standard deviation of each column, estimated from the median absolute value; 1 where that is 0."""
    known = [np.abs(column[np.isfinite(column)]) for column in residual.T]
    size = np.array([np.median(column) if len(column) else 0.0 for column in known]) / _MEDIAN_OF_NORMAL
    return np.where(size > 0, size, 1.0)
