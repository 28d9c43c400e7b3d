"""``pooled``, for many similar entities: a ridge regression for each, and trees that are fitted on all of them.

The ridge fits what is particular to its entity, the trees what is common and rare, such as the week before Easter. One
ensemble is fitted on the residuals of the ridges, one on the target itself.
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
from models.learners.average import known_mean
from models.learners.feature_sets import known_features
from models.learners.linear import GroupedRidge
from models.learners.trees import Growth, Matrix, TreeParams, Trees, grow

_TREES = TreeParams(rounds=250, learning_rate=0.1, num_leaves=63, min_data_in_leaf=40, feature_fraction=0.5)


class PooledParams(BaseModel):
    """Parameters of ``pooled``; most_unknown: a ridge leaves out features that are unknown more often than this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(10.0, gt=0)
    most_unknown: float = Field(0.2, gt=0, le=1)
    trees: TreeParams = _TREES
    residual_trees: TreeParams = _TREES
    trees_share: float = Field(0.3, ge=0, le=1, description="weight of the trees that are fitted on the target itself")


@forecaster("pooled")
class Pooled:
    """Ridges for each entity, trees for all."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = PooledParams(**params)
        self._trees = Trees(self._params.trees)
        self._residual_trees = Trees(self._params.residual_trees)
        self._linear: tuple[str, ...] = ()
        self._ridge = GroupedRidge(layout, self._linear, self._params.alpha)

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:  # noqa: ARG002
        """Fit the ridges, then both kinds of trees."""
        self._create(known_features(self._layout, inputs, self._params.most_unknown))
        self._ridge.fit(inputs, target)
        base = self._ridge.fitted
        grow(
            [
                Growth(self._trees, self._matrix(inputs), target.ravel()),
                Growth(self._residual_trees, self._with_base(inputs, base), (target - base).ravel()),
            ],
            threads,
        )

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:  # noqa: ARG002 -- the share is a parameter
        """No weights are fitted."""
        return {}

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; those of the trees on the target where too little is known for the ridges."""
        base = self._ridge.predict(inputs)
        trees = self._trees.predict(self._matrix(inputs)).reshape(base.shape)
        residual = self._residual_trees.predict(self._with_base(inputs, base)).reshape(base.shape)
        share = self._params.trees_share
        return known_mean(np.stack([trees, base + residual]), np.array([share, 1 - share]))

    def save(self, folder: Path) -> None:
        """Write ridges, trees, and the features of the ridges."""
        (folder / "pooled.json").write_text(json.dumps({"linear": self._linear}), encoding="utf-8")
        self._ridge.save(folder / "ridge.npz")
        self._trees.save(folder / "trees.txt")
        self._residual_trees.save(folder / "residual_trees.txt")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
        index = json.loads((folder / "pooled.json").read_text(encoding="utf-8"))
        self._create(tuple(index["linear"]))
        self._ridge.load(folder / "ridge.npz")
        self._trees.load(folder / "trees.txt")
        self._residual_trees.load(folder / "residual_trees.txt")

    def _create(self, linear: tuple[str, ...]) -> None:
        self._linear = linear
        self._ridge = GroupedRidge(self._layout, linear, self._params.alpha)

    def _matrix(self, inputs: ModelInputs) -> Matrix:
        return inputs.values.reshape(-1, inputs.values.shape[2])

    def _with_base(self, inputs: ModelInputs, base: Floats) -> Matrix:
        """The features, and what the ridges predict."""
        return np.column_stack([self._matrix(inputs), base.ravel().astype(np.float32)])
