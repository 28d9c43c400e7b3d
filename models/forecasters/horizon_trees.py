"""``horizon_trees``: every horizon at once, by trees that know the lead time, on top of linear regressions.

A ridge for each time of day and horizon says most: one that knows the forecast of others, and corrects it, and one that
does not. One ensemble of trees over all horizons learns what the ridges leave, in units of each horizon's usual error.
Another learns alone, from the newest measured value moved as others expect: a second opinion where that is worth its
weight, and the only one where the ridges lack an input. Neural nets may be a third. How much each counts is judged on
days that none of them saw.
"""

from __future__ import annotations

import json
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dualcast.arrays import Floats
from models.forecasters.registry import Weights, forecaster
from models.inputs import Layout, ModelInputs, feature
from models.learners.average import convex_weights, known_mean
from models.learners.feature_sets import FeatureSet, feature_sets, mostly_known
from models.learners.linear import GroupedRidge
from models.learners.nets import NetParams, Nets
from models.learners.origins import Origins
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow

# A weight that lets the lone trees answer where nothing else can.
_NEVER_NOTHING = 1e-6
# The median distance of normally distributed values from their mean, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6745


class HorizonTreesParams(BaseModel):
    """Parameters of ``horizon_trees``.

    alpha: the ridges' penalty at the last horizon, proportionally less before: close ahead, the newest values say most
    reach: a level further from its mean than so many times its spread counts as that far: one wrong value must not
        decide a forecast
    outlier: what lies so many times the usual error from what the ridges say is a wrong value, and not learned from
    landmarks: how many rows of the past a ridge compares a row with, for each time of day and horizon. 200 took 4% of
        the error of hourly forecasts, where ridges then took five times as long to learn, twelve seconds; of
        quarter-hours there are sixteen times as many. Without any, what is not linear is left to the trees
    caution: how much learned weights are drawn towards equal ones. Where both ridges are about as good, six weeks say
        little of the coming three months, and much caution pays
    tree_rows: trees learn from origins spread evenly, of about so many rows
    tree_share: how much of what the trees find is believed; all of it cost accuracy in the season after a break
    lone_share: how much of their learned weight the lone trees get. All of it pays where the forecast of others is
        good; where it is poor, even a quarter cost 2% six hours ahead in the season after a break. Without a share they
        answer only where the ridges lack an input, and few of them do
    lone_caution: as ``caution``, of the weights of the lone trees and the nets
    nets: nets that learn alone too, where given and ``lone_share`` lets them count
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(3.0, gt=0)
    reach: float = Field(5.0, gt=1)
    outlier: float = Field(6.0, gt=1)
    landmarks: int = Field(0, ge=0)
    caution: float = Field(3.0, ge=0)
    most_unknown: float = Field(0.2, gt=0, le=1)
    tree_rows: int = Field(300_000, gt=0)
    tree_share: float = Field(0.5, ge=0, le=1)
    lone_share: float = Field(0.0, ge=0, le=1)
    lone_caution: float = Field(3.0, ge=0)
    trees: TreeParams = TreeParams(rounds=150, learning_rate=0.06, num_leaves=31, min_data_in_leaf=50)
    lone_trees: TreeParams = TreeParams(rounds=60, learning_rate=0.2, num_leaves=31, min_data_in_leaf=50)
    nets: NetParams | None = None


@forecaster("horizon_trees")
class HorizonTrees:
    """Ridges for each horizon, trees on what they leave, and trees that learn alone."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = HorizonTreesParams(**params)
        self._sets: list[FeatureSet] = []
        self._linear: list[tuple[str, ...]] = []
        self._ridges: list[GroupedRidge] = []
        self._trees = Trees(self._params.trees)
        self._lone = Trees(self._params.lone_trees)
        nets = self._params.nets if self._params.lone_share else None
        self._nets = None if nets is None else Nets(nets)
        self._origins = Origins(layout)
        # the usual sizes of what the two ensembles predict, by horizon
        self._unit: Floats = np.ones(layout.horizons)
        self._lone_unit: Floats = np.ones(layout.horizons)
        # how far the newest measured value may lie from what others expected, and what is left of that at each horizon
        self._furthest = np.inf
        self._lasting: Floats = np.ones(layout.horizons)
        self._weights: Floats = np.empty((0, layout.horizons))

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Learn the ridges from every origin, the trees from origins spread evenly."""
        sets = feature_sets(self._layout, inputs)
        self._enter([(s, mostly_known(self._layout, inputs, s, self._params.most_unknown)) for s in sets])
        usual = self._named_weights()
        if weights is not None and set(weights) == set(usual):
            self._weights = np.array([weights[name] for name in usual]).reshape(self._weights.shape)
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            distance = target - self._prior(features, inputs)
            ridge.fit(inputs, np.where(features.usable(self._layout, inputs), distance, np.nan))
        base = self._combine([ridge.fitted for ridge in self._ridges], inputs)
        spread = self._spread(len(inputs))
        sample = inputs.take(spread)
        left, self._unit = self._in_units(target - base)
        self._learn_surprises(inputs, target)
        moved, self._lone_unit = self._in_units(target - self._start(inputs))
        grow(
            [
                Growth(self._trees, self._with_base(sample, base[spread]), left[spread].ravel()),
                Growth(self._lone, self._matrix(sample), moved[spread].ravel()),
            ],
            threads,
        )
        if self._nets is not None:
            self._nets.fit(self._origins.fit(sample, list(self._sets[0].features)), moved[spread])

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """How much each ridge, the lone trees and the nets count at each horizon: what would have been best here."""
        distances = [ridge.predict(inputs) for ridge in self._ridges]
        usual = [d + self._prior(s, inputs) for s, d in zip(self._sets, distances, strict=True) if not s.fallback]
        self._weights[: len(usual)] = self._best(np.stack(usual) - target, self._params.caution)
        if self._params.lone_share:
            known = self._sets[0].usable(self._layout, inputs)
            opinions = np.stack([self._combine(distances, inputs), *self._alone(inputs, known)])
            found = self._best(opinions - target, self._params.lone_caution)[1:]
            self._weights[len(usual) :][: len(found)] = self._params.lone_share * found
        return self._named_weights()

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; those of the lone trees where the ridges lack an input."""
        base = self._combine([ridge.predict(inputs) for ridge in self._ridges], inputs)
        found = self._trees.predict(self._with_base(inputs, base)).reshape(base.shape)
        residual = np.nan_to_num(found) * self._unit * self._params.tree_share
        known = self._sets[0].usable(self._layout, inputs)
        said: Floats = base + np.where(known, residual, 0.0)
        if not self._params.lone_share and np.isfinite(said).all():
            return said
        # trees that always saw the forecast of others are at a loss without it: better the ridges, where they can say
        alone = self._alone(inputs, known)
        share = np.where(known, self._weights[self._usual_ridges :, np.newaxis], 0.0)[: len(alone)]
        weights = np.stack([1 - share.sum(axis=0), *share])
        return known_mean(np.stack([said, *alone]), np.maximum(weights, _NEVER_NOTHING * np.isnan(said)))

    def _best(self, errors: Floats, caution: float) -> Floats:
        """Weights of k members at each horizon (k, H), by their errors (k, n, H); wild ones say nothing."""
        errors = errors / self._unit
        errors = np.where(np.abs(errors).min(axis=0) < self._params.outlier, errors, np.nan)
        equal, nothing = np.full(len(errors), 1 / len(errors)), np.zeros(errors.shape[1])
        by_horizon = np.moveaxis(errors, (0, 1, 2), (2, 1, 0))
        found = [convex_weights(of_horizon, nothing, equal, caution) for of_horizon in by_horizon]
        return np.stack(found, axis=1)

    def _alone(self, inputs: ModelInputs, known: NDArray[np.bool_]) -> list[Floats]:
        """What the trees say that learned without the ridges, and the nets where they learned, each (n, H).

        Nets, too, are at a loss without what they always saw: they speak where that is ``known`` (n, H).
        """
        start, shape = self._start(inputs), inputs.clock.shape
        out = [start + self._lone.predict(self._matrix(inputs)).reshape(shape) * self._lone_unit]
        if self._nets is not None and self._nets.learned:
            found = self._nets.predict(self._origins.rows(inputs))
            out.append(np.where(known, start + found * self._lone_unit, np.nan))
        return out

    def _named_weights(self) -> dict[str, float]:
        """The weights by member and place in the curve."""
        names = [*(s.name for s in self._sets if not s.fallback), "lone", *(["nets"] if self._nets else [])]
        steps = range(1, self._layout.horizons + 1)
        keys = [f"{name}_{step:02d}" for name in names for step in steps]
        return dict(zip(keys, self._weights.ravel().tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write ridges, trees, and which features each ridge knows."""
        index = {
            "sets": [{"features": vars(s), "linear": names} for s, names in zip(self._sets, self._linear, strict=True)],
            "unit": self._unit.tolist(),
            "lone_unit": self._lone_unit.tolist(),
            "furthest": self._furthest,
            "lasting": self._lasting.tolist(),
            "weights": self._weights.tolist(),
        }
        (folder / "horizon_trees.json").write_text(json.dumps(index), encoding="utf-8")
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.save(folder / f"ridge_{features.name}.npz")
        self._trees.save(folder / "trees.txt")
        self._lone.save(folder / "lone_trees.txt")
        if self._nets is not None:
            self._nets.save(folder / "nets.npz")
            self._origins.save(folder / "origins.npz")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        index = json.loads((folder / "horizon_trees.json").read_text(encoding="utf-8"))
        self._enter([(FeatureSet.of(entry["features"]), tuple(entry["linear"])) for entry in index["sets"]])
        self._unit, self._lone_unit = np.array(index["unit"]), np.array(index["lone_unit"])
        # models of before know no surprises
        self._furthest, self._lasting = index.get("furthest", np.inf), np.array(index.get("lasting", self._lasting))
        self._weights = np.array(index["weights"])
        for features, ridge in zip(self._sets, self._ridges, strict=True):
            ridge.load(folder / f"ridge_{features.name}.npz")
        self._trees.load(folder / "trees.txt")
        self._lone.load(folder / "lone_trees.txt")
        if self._nets is not None:
            self._nets.load(folder / "nets.npz")
            self._origins.load(folder / "origins.npz")

    def _enter(self, sets: list[tuple[FeatureSet, tuple[str, ...]]]) -> None:
        self._sets = [features for features, _ in sets]
        self._linear = [names for _, names in sets]
        # of the usual ridges, then of the lone trees and of the nets
        ridges, alone = self._usual_ridges, 1 + (self._nets is not None)
        self._weights = np.zeros((ridges + alone, self._layout.horizons))
        self._weights[:ridges] = 1 / max(ridges, 1)
        alpha = self._params.alpha * np.arange(1, self._layout.horizons + 1) / self._layout.horizons
        self._ridges = [
            GroupedRidge(
                self._layout,
                names,
                alpha.tolist(),
                self._params.outlier,
                self._params.reach,
                0 if features.fallback else self._params.landmarks,
            )
            for features, names in sets
        ]

    @property
    def _usual_ridges(self) -> int:
        """How many ridges count, where their inputs are known."""
        return sum(not s.fallback for s in self._sets)

    def _of(self, name: str, inputs: ModelInputs) -> Floats:
        return feature(self._layout, inputs, name)

    def _prior(self, features: FeatureSet, inputs: ModelInputs) -> Floats:
        """What a ridge corrects, (n, H): the forecast of others where it knows that, so that it shrinks towards it."""
        if self._layout.others is None or self._layout.others not in features.features:
            return np.zeros(inputs.clock.shape)
        return self._of(self._layout.others, inputs)

    def _combine(self, distances: list[Floats], inputs: ModelInputs) -> Floats:
        """The weighted mean of the usual ridges where their inputs are known, else the fallback's.

        Ridges say the ``distances`` from their priors.
        """
        said = [d + self._prior(s, inputs) for s, d in zip(self._sets, distances, strict=True)]
        usual = [
            np.where(s.usable(self._layout, inputs), p, np.nan)
            for s, p in zip(self._sets, said, strict=True)
            if not s.fallback
        ]
        out = known_mean(np.stack(usual), self._weights[: self._usual_ridges, np.newaxis])
        for features, prediction in zip(self._sets, said, strict=True):
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

    def _start(self, inputs: ModelInputs) -> Floats:
        """Where the lone trees and the nets begin, (n, H): what others expect and what is left of the surprise.

        The surprise is how far the newest measured value lies from what others expected of it. One all too far may be
        wrong, and counts as nearer. Without others, the newest value; 0 without that.
        """
        if self._layout.anchor is None:
            return np.zeros(inputs.clock.shape)
        newest = self._of(self._layout.anchor, inputs)
        if self._layout.others is None or self._layout.reference_anchor is None:
            return np.nan_to_num(newest)
        expected, others = self._of(self._layout.reference_anchor, inputs), self._of(self._layout.others, inputs)
        left = np.nan_to_num(self._near(newest - expected) * self._lasting)
        newest = np.where(np.isnan(expected), newest, expected + left)
        return np.nan_to_num(newest) + np.nan_to_num(others - expected)

    def _learn_surprises(self, inputs: ModelInputs, target: Floats) -> None:
        """How large the newest surprise may be, and how much of it is usually left at each horizon, from 0 to 1."""
        anchor, before = self._layout.anchor, self._layout.reference_anchor
        if anchor is None or before is None or self._layout.others is None:
            return
        surprise = self._of(anchor, inputs) - self._of(before, inputs)
        self._furthest = float(self._params.reach * _usual(surprise[:, :1])[0])
        now, later = self._near(surprise), self._near(target - self._of(self._layout.others, inputs))
        both = np.where(np.isfinite(now * later), [now * later, now**2], 0.0).sum(axis=1)
        self._lasting = np.clip(both[0] / np.maximum(both[1], _NEVER_NOTHING), 0.0, 1.0)

    def _near(self, surprise: Floats) -> Floats:
        return np.clip(surprise, -self._furthest, self._furthest)

    def _in_units(self, distance: Floats) -> tuple[Floats, Floats]:
        """Distances (n, H) in units of the usual one of each horizon, without wild ones, and these units."""
        unit = _usual(distance)
        return np.clip(distance / unit, -self._params.outlier, self._params.outlier), unit

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
