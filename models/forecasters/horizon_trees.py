"""``horizon_trees``: every horizon at once, by boosted trees that know the lead time, on top of ridge regressions.

Two ridges for each time of day and horizon explain most: one corrects the reference forecast, the other does without
it. One ensemble of trees over all horizons is fitted on the residuals of the ridges, in units of each horizon's typical
error. Another, the direct trees, corrects a baseline from the newest measured value (``ReferenceErrorBaseline``); it is
averaged with the rest where that improves the forecast, and predicts alone where the ridges lack an input. Neural nets
may be a third member. The weights are fitted on days that no member was trained on.
"""

from __future__ import annotations

import json
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dualcast.arrays import Flags, Floats
from models.forecasters.reference_error import ReferenceErrorBaseline, robust_scale
from models.forecasters.registry import Weights, forecaster
from models.inputs import Layout, ModelInputs, feature
from models.learners.average import convex_weights, known_mean
from models.learners.feature_sets import FeatureSet, feature_sets, mostly_known
from models.learners.linear import GroupedRidge
from models.learners.nets import NetParams, Nets
from models.learners.origins import Origins
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow

# A weight that lets the direct trees predict where nothing else can.
_LAST_RESORT = 1e-6


class HorizonTreesParams(BaseModel):
    """Parameters of ``horizon_trees``.

    alpha: the ridges' penalty at the last horizon, proportionally less at nearer ones, where the newest values matter
    clip: levels are clipped at so many standard deviations from their mean, so that one wrong value does not decide a
        forecast
    outlier: rows whose residual is so many times the typical one are not trained on
    landmarks: Nyström landmarks of each ridge, see ``kernels``. 200 took 4% of the error of hourly forecasts; the fit
        of the ridges then took five times as long, twelve seconds. Quarter-hours have sixteen times as many ridges.
        With 0 the trees alone fit what is not linear
    weight_shrinkage: how strongly the weights of the ridges are shrunk towards equal ones. Where both ridges are about
        as good, six weeks are a weak sample for the coming three months, and strong shrinkage helps
    most_unknown: a ridge leaves out features that are unknown more often than this
    tree_rows: trees are trained on about so many rows, of evenly spaced origins
    tree_share: the share of the residual trees' prediction that is used; all of it cost accuracy in the season after a
        break
    direct_share: the share of their fitted weight that direct trees and nets get. All of it helps where the reference
        forecast is good; where it is poor, even a quarter cost 2% six hours ahead in the season after a break. With 0
        they predict only where the ridges lack an input, which few trees suffice for
    direct_shrinkage: as ``weight_shrinkage``, of the weights of the direct trees and the nets
    nets: neural nets as a further member, where given and ``direct_share`` is positive
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(3.0, gt=0)
    clip: float = Field(5.0, gt=1)
    outlier: float = Field(6.0, gt=1)
    landmarks: int = Field(0, ge=0)
    weight_shrinkage: float = Field(3.0, ge=0)
    most_unknown: float = Field(0.2, gt=0, le=1)
    tree_rows: int = Field(300_000, gt=0)
    tree_share: float = Field(0.5, ge=0, le=1)
    direct_share: float = Field(0.0, ge=0, le=1)
    direct_shrinkage: float = Field(3.0, ge=0)
    trees: TreeParams = TreeParams(rounds=150, learning_rate=0.06, num_leaves=31, min_data_in_leaf=50)
    direct_trees: TreeParams = TreeParams(rounds=60, learning_rate=0.2, num_leaves=31, min_data_in_leaf=50)
    nets: NetParams | None = None


@forecaster("horizon_trees")
class HorizonTrees:
    """Ridges for each horizon, trees on their residuals, and trees and nets that correct a baseline."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = HorizonTreesParams(**params)
        self._sets: list[FeatureSet] = []
        self._linear: list[tuple[str, ...]] = []
        self._ridges: list[GroupedRidge] = []
        self._trees = Trees(self._params.trees)
        self._direct = Trees(self._params.direct_trees)
        nets = self._params.nets if self._params.direct_share else None
        self._nets = None if nets is None else Nets(nets)
        self._origins = Origins(layout)
        self._baseline = ReferenceErrorBaseline(layout, self._params.clip)
        # typical errors by horizon: of the ridges, and of the baseline
        self._unit: Floats = np.ones(layout.horizons)
        self._direct_unit: Floats = np.ones(layout.horizons)
        # a row for each ridge that is no fallback, the direct trees and the nets
        self._weights: Floats = np.empty((0, layout.horizons))

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Fit the ridges on every origin, trees and nets on evenly spaced ones."""
        sets = feature_sets(self._layout, inputs)
        self._create([(s, mostly_known(self._layout, inputs, s, self._params.most_unknown)) for s in sets])
        initial = self._named_weights()
        if weights is not None and set(weights) == set(initial):
            self._weights = np.array([weights[name] for name in initial]).reshape(self._weights.shape)
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            distance = target - self._prior(features, inputs)
            ridge.fit(inputs, np.where(features.usable(self._layout, inputs), distance, np.nan))
        base = self._combine([ridge.fitted for ridge in self._ridges], inputs)
        chosen = self._evenly_spaced(len(inputs))
        sample = inputs.take(chosen)
        residual, self._unit = self._in_units(target - base)
        self._baseline.fit(inputs, target)
        distance, self._direct_unit = self._in_units(target - self._baseline.predict(inputs))
        grow(
            [
                Growth(self._trees, self._with_base(sample, base[chosen]), residual[chosen].ravel()),
                Growth(self._direct, self._matrix(sample), distance[chosen].ravel()),
            ],
            threads,
        )
        if self._nets is not None:
            self._nets.fit(self._origins.fit(sample, list(self._sets[0].features)), distance[chosen])

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """The weights of ridges, direct trees and nets at each horizon that fit these rows best."""
        distances = [ridge.predict(inputs) for ridge in self._ridges]
        regular = [d + self._prior(s, inputs) for s, d in zip(self._sets, distances, strict=True) if not s.fallback]
        self._weights[: len(regular)] = self._best(np.stack(regular) - target, self._params.weight_shrinkage)
        if self._params.direct_share:
            known = self._sets[0].usable(self._layout, inputs)
            members = np.stack([self._combine(distances, inputs), *self._direct_members(inputs, known)])
            found = self._best(members - target, self._params.direct_shrinkage)[1:]
            self._weights[len(regular) :][: len(found)] = self._params.direct_share * found
        return self._named_weights()

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; those of the direct trees where the ridges lack an input."""
        base = self._combine([ridge.predict(inputs) for ridge in self._ridges], inputs)
        found = self._trees.predict(self._with_base(inputs, base)).reshape(base.shape)
        residual = np.nan_to_num(found) * self._unit * self._params.tree_share
        known = self._sets[0].usable(self._layout, inputs)
        corrected: Floats = base + np.where(known, residual, 0.0)
        if not self._params.direct_share and np.isfinite(corrected).all():
            return corrected
        # trees that were trained with the reference forecast are poor without it: there the ridges predict, if they can
        direct = self._direct_members(inputs, known)
        share = np.where(known, self._weights[self._regular_ridges :, np.newaxis], 0.0)[: len(direct)]
        weights = np.stack([1 - share.sum(axis=0), *share])
        return known_mean(np.stack([corrected, *direct]), np.maximum(weights, _LAST_RESORT * np.isnan(corrected)))

    def _best(self, errors: Floats, shrinkage: float) -> Floats:
        """Weights of k members at each horizon (k, H), by their errors (k, n, H); outliers do not count."""
        errors = errors / self._unit
        errors = np.where(np.abs(errors).min(axis=0) < self._params.outlier, errors, np.nan)
        equal, zero = np.full(len(errors), 1 / len(errors)), np.zeros(errors.shape[1])
        by_horizon = np.moveaxis(errors, (0, 1, 2), (2, 1, 0))
        found = [convex_weights(of_horizon, zero, equal, shrinkage) for of_horizon in by_horizon]
        return np.stack(found, axis=1)

    def _direct_members(self, inputs: ModelInputs, known: Flags) -> list[Floats]:
        """Predictions of the direct trees, and of the nets where they were trained, each (n, H).

        Nets predict where all that they were trained with is ``known`` (n, H).
        """
        baseline, shape = self._baseline.predict(inputs), inputs.clock.shape
        out = [baseline + self._direct.predict(self._matrix(inputs)).reshape(shape) * self._direct_unit]
        if self._nets is not None and self._nets.fitted:
            found = self._nets.predict(self._origins.rows(inputs))
            out.append(np.where(known, baseline + found * self._direct_unit, np.nan))
        return out

    def _named_weights(self) -> dict[str, float]:
        """The weights by member and place in the curve."""
        names = [*(s.name for s in self._sets if not s.fallback), "direct", *(["nets"] if self._nets else [])]
        steps = range(1, self._layout.horizons + 1)
        keys = [f"{name}_{step:02d}" for name in names for step in steps]
        return dict(zip(keys, self._weights.ravel().tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write all members, their weights, and the features of each ridge."""
        index = {
            "sets": [{"features": vars(s), "linear": names} for s, names in zip(self._sets, self._linear, strict=True)],
            "unit": self._unit.tolist(),
            "direct_unit": self._direct_unit.tolist(),
            "max_error": self._baseline.max_error,
            "persistence": self._baseline.persistence.tolist(),
            "weights": self._weights.tolist(),
        }
        (folder / "horizon_trees.json").write_text(json.dumps(index), encoding="utf-8")
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.save(folder / f"ridge_{features.name}.npz")
        self._trees.save(folder / "trees.txt")
        self._direct.save(folder / "direct_trees.txt")
        if self._nets is not None:
            self._nets.save(folder / "nets.npz")
            self._origins.save(folder / "origins.npz")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote. Models without a fitted baseline error keep the defaults."""
        index = json.loads((folder / "horizon_trees.json").read_text(encoding="utf-8"))
        self._create([(FeatureSet.of(entry["features"]), tuple(entry["linear"])) for entry in index["sets"]])
        self._unit, self._direct_unit = np.array(index["unit"]), np.array(index["direct_unit"])
        baseline = self._baseline
        baseline.max_error = index.get("max_error", np.inf)
        baseline.persistence = np.array(index.get("persistence", baseline.persistence))
        self._weights = np.array(index["weights"])
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.load(folder / f"ridge_{features.name}.npz")
        self._trees.load(folder / "trees.txt")
        self._direct.load(folder / "direct_trees.txt")
        if self._nets is not None:
            self._nets.load(folder / "nets.npz")
            self._origins.load(folder / "origins.npz")

    def _create(self, sets: list[tuple[FeatureSet, tuple[str, ...]]]) -> None:
        """Make the ridges of some feature sets, with equal weights for those that are no fallback."""
        self._sets = [features for features, _ in sets]
        self._linear = [names for _, names in sets]
        ridges, direct = self._regular_ridges, 1 + (self._nets is not None)
        self._weights = np.zeros((ridges + direct, self._layout.horizons))
        self._weights[:ridges] = 1 / max(ridges, 1)
        p = self._params
        alpha = (p.alpha * np.arange(1, self._layout.horizons + 1) / self._layout.horizons).tolist()
        self._ridges = [
            GroupedRidge(self._layout, names, alpha, p.outlier, p.clip, 0 if features.fallback else p.landmarks)
            for features, names in sets
        ]

    @property
    def _regular_ridges(self) -> int:
        """How many ridges are no fallback."""
        return sum(not s.fallback for s in self._sets)

    def _prior(self, features: FeatureSet, inputs: ModelInputs) -> Floats:
        """What a ridge corrects, (n, H): the reference forecast where it knows that, so that it shrinks towards it."""
        name = self._layout.reference_at_target
        if name is None or name not in features.features:
            return np.zeros(inputs.clock.shape)
        return feature(self._layout, inputs, name)

    def _combine(self, distances: list[Floats], inputs: ModelInputs) -> Floats:
        """The weighted mean of the regular ridges where their inputs are known, else the fallback's prediction.

        ``distances`` are the ridges' predictions less their priors.
        """
        predictions = [d + self._prior(s, inputs) for s, d in zip(self._sets, distances, strict=True)]
        regular = [
            np.where(s.usable(self._layout, inputs), p, np.nan)
            for s, p in zip(self._sets, predictions, strict=True)
            if not s.fallback
        ]
        out = known_mean(np.stack(regular), self._weights[: self._regular_ridges, np.newaxis])
        for features, prediction in zip(self._sets, predictions, strict=True):
            if features.fallback:
                out = np.where(np.isnan(out), prediction, out)
        return out

    def _matrix(self, inputs: ModelInputs) -> Matrix:
        """One row for each target: the known features, and how many steps ahead it is."""
        columns = self._layout.columns(self._sets[0].features)
        n, horizons = inputs.clock.shape
        flat = inputs.values[:, :, columns].reshape(n * horizons, len(columns))
        steps = np.tile(np.arange(horizons, dtype=np.float32), n)
        return np.column_stack([flat, steps])

    def _with_base(self, inputs: ModelInputs, base: Floats) -> Matrix:
        return np.column_stack([self._matrix(inputs), base.ravel().astype(np.float32)])

    def _in_units(self, distance: Floats) -> tuple[Floats, Floats]:
        """Distances (n, H) in units of the typical one of each horizon, clipped at ``outlier``, and these units."""
        unit = robust_scale(distance)
        return np.clip(distance / unit, -self._params.outlier, self._params.outlier), unit

    def _evenly_spaced(self, origins: int) -> slice:
        """Every k-th origin, where k shares no factor with a day, so that every time of day is sampled."""
        stride = max(origins * self._layout.horizons // self._params.tree_rows, 1)
        while gcd(stride, self._layout.slots_per_day) > 1:
            stride += 1
        return slice(None, None, stride)
