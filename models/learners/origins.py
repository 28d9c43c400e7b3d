"""One row for each origin, as nets see it: everything known there of all targets, evened out.

What matters is a few hundredths of a level: levels are told as distances, and directions in which rows hardly differ
are stretched, or gradients would never find them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats
from models.inputs import Layout, ModelInputs, feature
from models.learners.average import known_mean

# A level feature of at least so much of the scale is told as a distance: slopes and errors are distances already.
_LEVEL = 0.5
# No value counts as further from the mean than so many spreads.
_REACH = 5.0
# A direction in which rows vary less, as a share of a regressor's variance, is stretched no further.
_FLOOR = 0.01
# A regressor that spreads less is a constant.
_NO_SPREAD = 1e-9

Rows = NDArray[np.float32]


class Origins:
    """Makes the rows, in the way that was learned from the training rows."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # features told once for each origin, those told for each target, and those of them told as distances
        self.once: list[str] = []
        self.each: list[str] = []
        self.far: list[str] = []
        self.mean: Floats = np.empty(0)
        self.spread: Floats = np.empty(0)
        self.even: Floats = np.empty((0, 0))

    def fit(self, inputs: ModelInputs, features: list[str]) -> Rows:
        """Learn what varies, from training inputs, and give their rows (n, p)."""
        plain = [n for n in features if n not in self._layout.codes]
        values = inputs.values[:, :, self._layout.columns(plain)]
        differs = np.nan_to_num(np.abs(values - values[:, :1])).max(axis=(0, 1)) > _NO_SPREAD
        self.once = [n for n, d in zip(plain, differs, strict=True) if not d]
        self.each = [n for n, d in zip(plain, differs, strict=True) if d]
        usual = known_mean(values.reshape(-1, len(plain)).astype(np.float64))
        levels = set(self._layout.levels) - {self._layout.anchor, self._layout.others}
        self.far = [n for n, size in zip(plain, usual, strict=True) if n in levels and abs(size) > _LEVEL]
        told = self._told(inputs)
        self.mean = np.nan_to_num(known_mean(told))
        spread = np.nan_to_num(told - self.mean).std(axis=0)
        self.spread = np.where(spread > _NO_SPREAD, spread, np.inf)
        scaled = self._scaled(told)
        sizes, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        self.even = directions / np.sqrt(np.maximum(sizes, 0.0) + _FLOOR)
        return self._rows(inputs, scaled)

    def rows(self, inputs: ModelInputs) -> Rows:
        """The rows (n, p) of other inputs; what is unknown counts as usual."""
        return self._rows(inputs, self._scaled(self._told(inputs)))

    def save(self, path: Path) -> None:
        """Write what was learned."""
        names = {key: np.array(getattr(self, key), dtype=np.str_) for key in ("once", "each", "far")}
        np.savez(path, **names, mean=self.mean, spread=self.spread, even=self.even)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            self.once, self.each, self.far = (stored[key].tolist() for key in ("once", "each", "far"))
            self.mean, self.spread, self.even = stored["mean"], stored["spread"], stored["even"]

    def _rows(self, inputs: ModelInputs, scaled: Floats) -> Rows:
        return np.hstack([scaled @ self.even, self._hot(inputs)]).astype(np.float32)

    def _scaled(self, told: Floats) -> Floats:
        found: Floats = np.clip(np.nan_to_num((told - self.mean) / self.spread), -_REACH, _REACH)
        return found

    def _told(self, inputs: ModelInputs) -> Floats:
        """Plain features (n, p): levels as distances from the newest value, or from the forecast of others."""
        layout, values = self._layout, inputs.values.astype(np.float64)
        once, each = values[:, 0, layout.columns(self.once)], values[:, :, layout.columns(self.each)]
        if layout.anchor is not None:
            once -= np.isin(self.once, self.far) * feature(layout, inputs, layout.anchor)[:, :1]
        if layout.others is not None:
            each -= np.isin(self.each, self.far) * feature(layout, inputs, layout.others)[:, :, np.newaxis]
        return np.hstack([once, each.reshape(len(each), -1)])

    def _hot(self, inputs: ModelInputs) -> Floats:
        """The local time of the origin, and the codes of the first and the last target, one column for each."""
        blocks = [inputs.clock[:, :1] == np.arange(self._layout.slots_per_day)]
        for name, size in self._layout.codes.items():
            code = feature(self._layout, inputs, name)
            blocks += [code[:, at, np.newaxis] == np.arange(size) for at in (0, -1)]
        return np.hstack(blocks).astype(np.float64)
