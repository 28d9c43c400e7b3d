"""``blend``: ridge regressions by the hour and boosted trees, averaged; with and without the forecast of others.

Linear members carry the level of the day, trees the exceptions; one kind of trees works on what the ridge leaves.
Members that know the reference forecast stand beside members that do not, so that its absence costs accuracy and no
curve; members without any optional input answer where nothing else can.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.forecasters.registry import forecaster
from models.inputs import Floats, Inputs, Layout
from models.learners.average import known_mean
from models.learners.feature_sets import FeatureSet, feature_sets, known_features
from models.learners.linear import GroupedRidge
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow


class BlendParams(BaseModel):
    """Parameters of ``blend``; most_unknown: a ridge leaves out features that are unknown more often than this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(10.0, gt=0)
    most_unknown: float = Field(0.2, gt=0, le=1)
    trees: TreeParams = TreeParams()
    residual_trees: TreeParams = TreeParams(learning_rate=0.04, num_leaves=15, min_data_in_leaf=40)
    weights: dict[str, float] = Field(
        {"ridge": 1.0, "trees": 0.5, "residual_trees": 1.0}, description="weight of each kind of member"
    )


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
        self._weights = np.array([params.weights.get(k, 0.0) for k in ("ridge", "trees", "residual_trees")])

    def fit_ridge(self, inputs: Inputs, target: Floats) -> list[Growth]:
        """Learn the ridge from rows where all that this member needs is known; return the trees still to grow."""
        usable = self.features.usable(self._layout, inputs)
        target = np.where(usable, target, np.nan)
        self._ridge.fit(inputs, target)
        base = self._ridge.fitted
        return [
            Growth(self._trees, self._matrix(inputs), target.ravel()),
            Growth(self._residual_trees, self._with_base(inputs, base), (target - base).ravel()),
        ]

    def predict(self, inputs: Inputs) -> Floats:
        """Weighted mean of the learners that can say something, (n, H)."""
        base = self._ridge.predict(inputs)
        shape = base.shape
        trees = self._trees.predict(self._matrix(inputs)).reshape(shape)
        residual = self._residual_trees.predict(self._with_base(inputs, base)).reshape(shape)
        said = np.stack([base, trees, base + residual])
        out = known_mean(said, self._weights)
        return np.where(self.features.usable(self._layout, inputs), out, np.nan)

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

    def _matrix(self, inputs: Inputs) -> Matrix:
        flat: Matrix = inputs.values[:, :, self._columns].reshape(-1, len(self._columns))
        return flat

    def _with_base(self, inputs: Inputs, base: Floats) -> Matrix:
        """The features, and what the ridge predicts."""
        return np.column_stack([self._matrix(inputs), base.ravel().astype(np.float32)])


@forecaster("blend")
class Blend:
    """The mean of members that know different things."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = BlendParams(**params)
        self._members: list[Member] = []

    def fit(self, inputs: Inputs, target: Floats, threads: int) -> None:
        """Learn every member."""
        linear = set(known_features(self._layout, inputs, self._params.most_unknown))
        self._members = [
            Member(self._layout, self._params, features, tuple(n for n in features.features if n in linear))
            for features in feature_sets(self._layout, inputs)
        ]
        grow([growth for member in self._members for growth in member.fit_ridge(inputs, target)], threads)

    def predict(self, inputs: Inputs) -> Floats:
        """The mean of the members that can say something; fallback members only where no other can."""
        usual = [m.predict(inputs) for m in self._members if not m.features.fallback]
        out = known_mean(np.stack(usual))
        for member in self._members:
            if member.features.fallback and np.isnan(out).any():
                out = np.where(np.isnan(out), member.predict(inputs), out)
        return out

    def save(self, folder: Path) -> None:
        """Write members and which features each of them knows."""
        index = [{"features": vars(m.features), "linear": m.linear} for m in self._members]
        (folder / "members.json").write_text(json.dumps(index), encoding="utf-8")
        for member in self._members:
            member.save(folder / member.features.name)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        for entry in json.loads((folder / "members.json").read_text(encoding="utf-8")):
            features = FeatureSet.of(entry["features"])
            member = Member(self._layout, self._params, features, tuple(entry["linear"]))
            member.load(folder / member.features.name)
            self._members.append(member)
