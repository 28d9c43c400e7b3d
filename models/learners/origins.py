"""One row for each origin, as nets take it: all features of all targets, centred and whitened.

Changes of a few hundredths of a level matter: levels are given as distances from the newest value or the reference
forecast, and directions of small variance are scaled up, or gradient descent would not find them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats
from models.inputs import Layout, ModelInputs, feature
from models.learners.average import known_mean

# A level feature whose mean is at least this share of the scale is given as a distance: slopes and errors are small.
_LEVEL = 0.5
# Values are clipped at so many standard deviations.
_CLIP = 5.0
# Added to the variance of each direction, so that directions of little variance are not scaled up without limit.
_FLOOR = 0.01
# A feature whose standard deviation is smaller is a constant.
_CONSTANT = 1e-9
_NAMES = ("per_origin", "per_target", "as_distance")

Rows = NDArray[np.float32]


class Origins:
    """Makes the rows, by means, deviations and a whitening matrix that are fitted on the training rows."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # features with one value for each origin, those with one for each target, and those given as distances
        self.per_origin: list[str] = []
        self.per_target: list[str] = []
        self.as_distance: list[str] = []
        self.mean: Floats = np.empty(0)
        self.deviation: Floats = np.empty(0)
        self.whitening: Floats = np.empty((0, 0))

    def fit(self, inputs: ModelInputs, features: list[str]) -> Rows:
        """Fit on training inputs and return their rows (n, p)."""
        plain = [n for n in features if n not in self._layout.codes]
        values = inputs.values[:, :, self._layout.columns(plain)]
        differs = np.nan_to_num(np.abs(values - values[:, :1])).max(axis=(0, 1)) > _CONSTANT
        self.per_origin = [n for n, d in zip(plain, differs, strict=True) if not d]
        self.per_target = [n for n, d in zip(plain, differs, strict=True) if d]
        mean = known_mean(values.reshape(-1, len(plain)).astype(np.float64))
        levels = set(self._layout.levels) - {self._layout.anchor, self._layout.reference_at_target}
        self.as_distance = [n for n, size in zip(plain, mean, strict=True) if n in levels and abs(size) > _LEVEL]
        uncoded = self._uncoded(inputs)
        self.mean = np.nan_to_num(known_mean(uncoded))
        deviation = np.nan_to_num(uncoded - self.mean).std(axis=0)
        self.deviation = np.where(deviation > _CONSTANT, deviation, np.inf)
        scaled = self._scaled(uncoded)
        variances, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        self.whitening = directions / np.sqrt(np.maximum(variances, 0.0) + _FLOOR)
        return self._rows(inputs, scaled)

    def rows(self, inputs: ModelInputs) -> Rows:
        """The rows (n, p) of other inputs; unknown values count as their mean."""
        return self._rows(inputs, self._scaled(self._uncoded(inputs)))

    def save(self, path: Path) -> None:
        """Write what ``fit`` found."""
        names = {key: np.array(getattr(self, key), dtype=np.str_) for key in _NAMES}
        np.savez(path, **names, mean=self.mean, deviation=self.deviation, whitening=self.whitening)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            self.per_origin, self.per_target, self.as_distance = (stored[key].tolist() for key in _NAMES)
            self.mean, self.deviation, self.whitening = stored["mean"], stored["deviation"], stored["whitening"]

    def _rows(self, inputs: ModelInputs, scaled: Floats) -> Rows:
        return np.hstack([scaled @ self.whitening, self._one_hot(inputs)]).astype(np.float32)

    def _scaled(self, values: Floats) -> Floats:
        found: Floats = np.clip(np.nan_to_num((values - self.mean) / self.deviation), -_CLIP, _CLIP)
        return found

    def _uncoded(self, inputs: ModelInputs) -> Floats:
        """Features that are no codes (n, p), levels as distances from the newest value or the reference forecast."""
        layout, values = self._layout, inputs.values.astype(np.float64)
        per_origin = values[:, 0, layout.columns(self.per_origin)]
        per_target = values[:, :, layout.columns(self.per_target)]
        if layout.anchor is not None:
            per_origin -= np.isin(self.per_origin, self.as_distance) * feature(layout, inputs, layout.anchor)[:, :1]
        if layout.reference_at_target is not None:
            reference = feature(layout, inputs, layout.reference_at_target)
            per_target -= np.isin(self.per_target, self.as_distance) * reference[:, :, np.newaxis]
        return np.hstack([per_origin, per_target.reshape(len(per_target), -1)])

    def _one_hot(self, inputs: ModelInputs) -> Floats:
        """One-hot columns of the local time of the origin and of the codes of the first and the last target."""
        blocks = [inputs.clock[:, :1] == np.arange(self._layout.slots_per_day)]
        for name, size in self._layout.codes.items():
            code = feature(self._layout, inputs, name)
            blocks += [code[:, at, np.newaxis] == np.arange(size) for at in (0, -1)]
        return np.hstack(blocks).astype(np.float64)
