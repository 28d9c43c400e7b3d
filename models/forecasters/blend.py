"""``blend``: the average of ridge regressions and boosted trees, with and without the reference forecast.

Ridges, one for each time of day, predict the level, and trees the exceptions; one kind of trees is fitted on the
residuals of the ridge. The weights are fitted on days that no member was trained on, since the reference forecast is
excellent in one country and poor in another. Some members know it and others do not, so that its absence costs accuracy
and no curve. Members without any optional input predict where no other can.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dualcast.arrays import Floats
from models.forecasters.registry import Weights, forecaster
from models.inputs import Layout, ModelInputs
from models.learners.average import convex_weights, known_mean
from models.learners.feature_sets import FeatureSet, feature_sets, mostly_known
from models.learners.linear import GroupedRidge
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow

# As accurate as three times as many trees with a lower learning rate, within the variation of the seed.
_TREES = TreeParams(rounds=100, learning_rate=0.15, feature_fraction=0.3, max_bin=63)
_RESIDUAL_TREES = _TREES.model_copy(update={"learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 40})
# The learners of a member, in the order of its predictions.
KINDS = ("ridge", "trees", "residual_trees")


class BlendParams(BaseModel):
    """Parameters of ``blend``; most_unknown: a ridge leaves out features that are unknown more often than this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(10.0, gt=0)
    most_unknown: float = Field(0.5, gt=0, le=1)
    trees: TreeParams = _TREES
    residual_trees: TreeParams = _RESIDUAL_TREES
    weights: dict[str, float] = Field(
        {"ridge": 1.0, "trees": 0.5, "residual_trees": 1.0},
        description="weight of each kind of learner until weights are fitted",
    )
    weight_shrinkage: float = Field(30.0, ge=0, description="how strongly weights are shrunk to those above")


class Member:
    """The learners that share one set of features."""

    def __init__(self, layout: Layout, params: BlendParams, features: FeatureSet, linear: tuple[str, ...]) -> None:
        self.features = features
        self.linear = linear
        self._layout = layout
        self._columns = layout.columns(features.features)
        self._ridge = GroupedRidge(layout, linear, params.alpha)
        self._trees = Trees(params.trees)
        self._residual_trees = Trees(params.residual_trees)

    def fit_ridge(self, inputs: ModelInputs, target: Floats) -> list[Growth]:
        """Fit the ridge on rows where all needed features are known; return the trees still to be fitted."""
        usable = self.features.usable(self._layout, inputs)
        target = np.where(usable, target, np.nan)
        self._ridge.fit(inputs, target)
        base = self._ridge.fitted
        return [
            Growth(self._trees, self._matrix(inputs), target.ravel()),
            Growth(self._residual_trees, self._with_base(inputs, base), (target - base).ravel()),
        ]

    def predict(self, inputs: ModelInputs) -> Floats:
        """Predictions of each kind of learner, (kinds, n, H); NaN where a needed feature is missing."""
        base = self._ridge.predict(inputs)
        shape = base.shape
        trees = self._trees.predict(self._matrix(inputs)).reshape(shape)
        residual = self._residual_trees.predict(self._with_base(inputs, base)).reshape(shape)
        found = np.stack([base, trees, base + residual])
        return np.where(self.features.usable(self._layout, inputs), found, np.nan)

    def save(self, folder: Path) -> None:
        """Write all learners."""
        folder.mkdir(parents=True)
        self._ridge.save(folder / "ridge.npz")
        self._trees.save(folder / "trees.txt")
        self._residual_trees.save(folder / "residual_trees.txt")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        self._ridge.load(folder / "ridge.npz")
        self._trees.load(folder / "trees.txt")
        self._residual_trees.load(folder / "residual_trees.txt")

    def _matrix(self, inputs: ModelInputs) -> Matrix:
        flat: Matrix = inputs.values[:, :, self._columns].reshape(-1, len(self._columns))
        return flat

    def _with_base(self, inputs: ModelInputs, base: Floats) -> Matrix:
        """The features, and what the ridge predicts."""
        return np.column_stack([self._matrix(inputs), base.ravel().astype(np.float32)])


@forecaster("blend")
class Blend:
    """The weighted mean of members with different feature sets."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = BlendParams(**params)
        self._members: list[Member] = []
        self._weights: dict[str, float] = {}

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Fit every member; weights of other members than these are not used."""
        layout, params = self._layout, self._params
        self._members = [
            Member(layout, params, features, mostly_known(layout, inputs, features, params.most_unknown))
            for features in feature_sets(layout, inputs)
        ]
        grow([growth for member in self._members for growth in member.fit_ridge(inputs, target)], threads)
        initial = self._initial_weights()
        self._weights = dict(weights) if weights is not None and set(weights) == set(initial) else initial

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """Fit weights on rows that the members were not trained on, shrunk towards the initial ones."""
        initial = self._initial_weights()
        predictions = self._predictions(inputs, fallback=False).reshape(len(initial), -1).T
        found = convex_weights(
            predictions, target.ravel(), np.array(list(initial.values())), self._params.weight_shrinkage
        )
        self._weights = dict(zip(initial, found.tolist(), strict=True))
        return self._weights

    def predict(self, inputs: ModelInputs) -> Floats:
        """The mean of the known predictions; fallback members count only where no other predicts."""
        out = known_mean(self._predictions(inputs, fallback=False), np.array(list(self._weights.values())))
        if np.isnan(out).any() and any(m.features.fallback for m in self._members):
            kinds = np.array([self._params.weights.get(kind, 0.0) for kind in KINDS])
            out = np.where(np.isnan(out), known_mean(self._predictions(inputs, fallback=True), kinds), out)
        return out

    def _predictions(self, inputs: ModelInputs, *, fallback: bool) -> Floats:
        """Predictions of the learners of the regular or of the fallback members, (learners, n, H)."""
        return np.concatenate([m.predict(inputs) for m in self._members if m.features.fallback == fallback])

    def _initial_weights(self) -> dict[str, float]:
        """The weight of each learner of the regular members before weights are fitted; their sum is 1."""
        regular = [m.features.name for m in self._members if not m.features.fallback]
        given = {f"{name}.{kind}": self._params.weights.get(kind, 0.0) for name in regular for kind in KINDS}
        return {name: weight / sum(given.values()) for name, weight in given.items()}

    def save(self, folder: Path) -> None:
        """Write members, their features, and the weights."""
        members = [{"features": vars(m.features), "linear": m.linear} for m in self._members]
        index = {"members": members, "weights": self._weights}
        (folder / "blend.json").write_text(json.dumps(index), encoding="utf-8")
        for member in self._members:
            member.save(folder / member.features.name)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        index = json.loads((folder / "blend.json").read_text(encoding="utf-8"))
        self._weights = index["weights"]
        for entry in index["members"]:
            features = FeatureSet.of(entry["features"])
            member = Member(self._layout, self._params, features, tuple(entry["linear"]))
            member.load(folder / member.features.name)
            self._members.append(member)
