"""``horizon_trees``: every horizon at once, by trees that know the lead time, on top of linear regressions.

A ridge for each time of day and horizon says most: one that knows the forecast of others and one that does not, weighed
by how each did on days that neither saw. One ensemble of trees over all horizons learns what the ridges leave, in units
of each horizon's usual error. Where the ridges lack an input, trees that predict the distance from the newest measured
value answer alone.
"""

from __future__ import annotations

import json
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.forecasters.registry import Weights, forecaster
from models.inputs import Floats, Inputs, Layout
from models.learners.average import convex_weights, known_mean
from models.learners.feature_sets import FeatureSet, feature_sets, known_features
from models.learners.linear import GroupedRidge
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow

# The median distance of normally distributed values from their mean, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6745


class HorizonTreesParams(BaseModel):
    """Parameters of ``horizon_trees``.

    alpha: the ridges' penalty at the last horizon, proportionally less before: close ahead, the newest values say most
    outlier: what lies so many times the usual error from what the ridges say is a wrong value, and not learned from
    caution: how much learned weights of the ridges are drawn towards equal ones
    tree_rows: trees learn from origins spread evenly, of about so many rows
    tree_share: how much of what the trees find is believed; all of it cost accuracy in the season after a break
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(3.0, gt=0)
    outlier: float = Field(6.0, gt=1)
    caution: float = Field(3.0, ge=0)
    most_unknown: float = Field(0.2, gt=0, le=1)
    tree_rows: int = Field(300_000, gt=0)
    tree_share: float = Field(0.5, ge=0, le=1)
    trees: TreeParams = TreeParams(rounds=200, learning_rate=0.03, num_leaves=31, min_data_in_leaf=200)
    fallback_trees: TreeParams = TreeParams(rounds=150, learning_rate=0.1, num_leaves=63, min_data_in_leaf=50)


@forecaster("horizon_trees")
class HorizonTrees:
    """Ridges for each horizon, trees on what they leave, and trees that can do without them."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = HorizonTreesParams(**params)
        self._sets: list[FeatureSet] = []
        self._linear: list[tuple[str, ...]] = []
        self._ridges: list[GroupedRidge] = []
        self._trees = Trees(self._params.trees)
        self._fallback = Trees(self._params.fallback_trees)
        self._unit: Floats = np.ones(layout.horizons)
        self._weights: Floats = np.empty((0, layout.horizons))

    def fit(self, inputs: Inputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Learn the ridges from every origin, the trees from origins spread evenly."""
        linear = set(known_features(self._layout, inputs, self._params.most_unknown))
        self._enter([(s, tuple(n for n in s.features if n in linear)) for s in feature_sets(self._layout, inputs)])
        usual = self._named_weights()
        if weights is not None and set(weights) == set(usual):
            self._weights = np.array([weights[name] for name in usual]).reshape(self._weights.shape)
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.fit(inputs, np.where(features.usable(self._layout, inputs), target, np.nan))
        base = self._combine([ridge.fitted for ridge in self._ridges], inputs)
        residual = target - base
        self._unit = _usual(residual)
        residual = np.clip(residual / self._unit, -self._params.outlier, self._params.outlier)
        spread = self._spread(len(inputs))
        sample = inputs.take(spread)
        grow(
            [
                Growth(self._trees, self._with_base(sample, base[spread]), residual[spread].ravel()),
                Growth(self._fallback, self._matrix(sample), (target - self._anchor(inputs))[spread].ravel()),
            ],
            threads,
        )

    def weigh(self, inputs: Inputs, target: Floats) -> Weights:
        """How much each ridge counts at each horizon: what would have been best on rows that they have not seen."""
        said = np.stack([r.predict(inputs) for s, r in zip(self._sets, self._ridges, strict=True) if not s.fallback])
        errors = (said - target) / self._unit
        errors = np.where(np.abs(errors).min(axis=0) < self._params.outlier, errors, np.nan)
        equal, nothing = np.full(len(said), 1 / len(said)), np.zeros(len(target))
        for horizon in range(self._layout.horizons):
            of_horizon = errors[:, :, horizon].T
            self._weights[:, horizon] = convex_weights(of_horizon, nothing, equal, self._params.caution)
        return self._named_weights()

    def predict(self, inputs: Inputs) -> Floats:
        """(n, H) predictions; the fallback's where the ridges lack an input."""
        base = self._combine([ridge.predict(inputs) for ridge in self._ridges], inputs)
        found = self._trees.predict(self._with_base(inputs, base)).reshape(base.shape)
        residual = found * self._unit * self._params.tree_share
        out: Floats = base + np.where(self._sets[0].usable(self._layout, inputs), np.nan_to_num(residual), 0.0)
        if np.isnan(out).any():
            alone = self._fallback.predict(self._matrix(inputs)).reshape(base.shape) + self._anchor(inputs)
            out = np.where(np.isnan(out), alone, out)
        return out

    def _named_weights(self) -> dict[str, float]:
        """The weights by ridge and place in the curve."""
        names = [s.name for s in self._sets if not s.fallback]
        steps = range(1, self._layout.horizons + 1)
        keys = [f"{name}_{step:02d}" for name in names for step in steps]
        return dict(zip(keys, self._weights.ravel().tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write ridges, trees, and which features each ridge knows."""
        index = {
            "sets": [{"features": vars(s), "linear": names} for s, names in zip(self._sets, self._linear, strict=True)],
            "unit": self._unit.tolist(),
            "weights": self._weights.tolist(),
        }
        (folder / "horizon_trees.json").write_text(json.dumps(index), encoding="utf-8")
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.save(folder / f"ridge_{features.name}.npz")
        self._trees.save(folder / "trees.txt")
        self._fallback.save(folder / "fallback_trees.txt")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        index = json.loads((folder / "horizon_trees.json").read_text(encoding="utf-8"))
        self._enter([(FeatureSet.of(entry["features"]), tuple(entry["linear"])) for entry in index["sets"]])
        self._unit, self._weights = np.array(index["unit"]), np.array(index["weights"])
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.load(folder / f"ridge_{features.name}.npz")
        self._trees.load(folder / "trees.txt")
        self._fallback.load(folder / "fallback_trees.txt")

    def _enter(self, sets: list[tuple[FeatureSet, tuple[str, ...]]]) -> None:
        self._sets = [features for features, _ in sets]
        self._linear = [names for _, names in sets]
        self._weights = np.ones((sum(not s.fallback for s in self._sets), self._layout.horizons))
        alpha = self._params.alpha * np.arange(1, self._layout.horizons + 1) / self._layout.horizons
        self._ridges = [GroupedRidge(self._layout, n, alpha.tolist(), self._params.outlier) for n in self._linear]

    def _combine(self, said: list[Floats], inputs: Inputs) -> Floats:
        """The weighted mean of the usual ridges where their inputs are known, else the fallback's."""
        usual = [
            np.where(s.usable(self._layout, inputs), p, np.nan)
            for s, p in zip(self._sets, said, strict=True)
            if not s.fallback
        ]
        out = known_mean(np.stack(usual), self._weights[:, np.newaxis])
        for features, prediction in zip(self._sets, said, strict=True):
            if features.fallback:
                out = np.where(np.isnan(out), prediction, out)
        return out

    def _matrix(self, inputs: Inputs) -> Matrix:
        """One row for each target: the known features, and how many steps ahead it is."""
        columns = self._layout.columns(self._sets[0].features)
        n, horizons = inputs.clock.shape
        flat = inputs.values[:, :, columns].reshape(n * horizons, len(columns))
        steps = np.tile(np.arange(horizons, dtype=np.float32), n)
        return np.column_stack([flat, steps])

    def _with_base(self, inputs: Inputs, base: Floats) -> Matrix:
        return np.column_stack([self._matrix(inputs), base.ravel().astype(np.float32)])

    def _anchor(self, inputs: Inputs) -> Floats:
        """The newest measured value of each origin, (n, 1); 0 where the use case has no such feature."""
        if self._layout.anchor is None:
            return np.zeros((len(inputs), 1))
        newest: Floats = inputs.values[:, :1, self._layout.column[self._layout.anchor]].astype(np.float64)
        return np.nan_to_num(newest)

    def _spread(self, origins: int) -> slice:
        """Every k-th origin, where k shares no factor with a day, so that every time of day comes up."""
        stride = max(origins * self._layout.horizons // self._params.tree_rows, 1)
        while gcd(stride, self._layout.slots_per_day) > 1:
            stride += 1
        return slice(None, None, stride)


def _usual(residual: Floats) -> Floats:
    """The usual size of each column's residuals, by the median, which wrong values do not move; 1 where it is 0."""
    known = [np.abs(column[np.isfinite(column)]) for column in residual.T]
    size = np.array([np.median(column) if len(column) else 0.0 for column in known]) / _MEDIAN_OF_NORMAL
    return np.where(size > 0, size, 1.0)
