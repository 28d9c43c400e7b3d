"""``blend``: ridge regressions by the hour and boosted trees, with and without the forecast of others, weighed.

Linear members carry the level of the day, trees the exceptions; one kind of trees works on what the ridge leaves. How
much each counts is learned from days that none of them saw: the forecast of others is excellent in one country and poor
in another. Members that know it stand beside members that do not, so that its absence costs accuracy and no curve;
members without any optional input answer where nothing else can.
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

# Few and fast: as accurate as three times as many slower ones, within what another seed changes.
_TREES = TreeParams(rounds=100, learning_rate=0.15, feature_fraction=0.3, max_bin=63)
_RESIDUAL_TREES = _TREES.model_copy(update={"learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 40})
# The learners of a member, in the order in which they speak.
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
        description="weight of each kind of learner until weights are learned",
    )
    caution: float = Field(30.0, ge=0, description="how much learned weights are drawn towards those above")


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
        """Learn the ridge from rows where all that this member needs is known; return the trees still to grow."""
        usable = self.features.usable(self._layout, inputs)
        target = np.where(usable, target, np.nan)
        self._ridge.fit(inputs, target)
        base = self._ridge.fitted
        return [
            Growth(self._trees, self._matrix(inputs), target.ravel()),
            Growth(self._residual_trees, self._with_base(inputs, base), (target - base).ravel()),
        ]

    def say(self, inputs: ModelInputs) -> Floats:
        """What each kind of learner predicts, (kinds, n, H); NaN where an input is missing that this member needs."""
        base = self._ridge.predict(inputs)
        shape = base.shape
        trees = self._trees.predict(self._matrix(inputs)).reshape(shape)
        residual = self._residual_trees.predict(self._with_base(inputs, base)).reshape(shape)
        said = np.stack([base, trees, base + residual])
        return np.where(self.features.usable(self._layout, inputs), said, np.nan)

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
    """The weighted mean of members that know different things."""

    def __init__(self, layout: Layout, params: dict[str, Any]) -> None:
        self._layout = layout
        self._params = BlendParams(**params)
        self._members: list[Member] = []
        self._weights: dict[str, float] = {}

    def fit(self, inputs: ModelInputs, target: Floats, threads: int, weights: Weights | None = None) -> None:
        """Learn every member; weights of other members than these are not used."""
        layout, params = self._layout, self._params
        self._members = [
            Member(layout, params, features, mostly_known(layout, inputs, features, params.most_unknown))
            for features in feature_sets(layout, inputs)
        ]
        grow([growth for member in self._members for growth in member.fit_ridge(inputs, target)], threads)
        usual = self._usual_weights()
        self._weights = dict(weights) if weights is not None and set(weights) == set(usual) else usual

    def weigh(self, inputs: ModelInputs, target: Floats) -> Weights:
        """Weights that would have been best on rows that the members have not seen, drawn towards the usual ones."""
        usual = self._usual_weights()
        said = self._say(inputs, fallback=False).reshape(len(usual), -1).T
        learned = convex_weights(said, target.ravel(), np.array(list(usual.values())), self._params.caution)
        self._weights = dict(zip(usual, learned.tolist(), strict=True))
        return self._weights

    def predict(self, inputs: ModelInputs) -> Floats:
        """The mean of what can say something; fallback members only where no other can."""
        out = known_mean(self._say(inputs, fallback=False), np.array(list(self._weights.values())))
        if np.isnan(out).any() and any(m.features.fallback for m in self._members):
            kinds = np.array([self._params.weights.get(kind, 0.0) for kind in KINDS])
            out = np.where(np.isnan(out), known_mean(self._say(inputs, fallback=True), kinds), out)
        return out

    def _say(self, inputs: ModelInputs, *, fallback: bool) -> Floats:
        """What the learners of the usual members, or of the fallback ones, predict: (learners, n, H)."""
        return np.concatenate([m.say(inputs) for m in self._members if m.features.fallback == fallback])

    def _usual_weights(self) -> dict[str, float]:
        """The weight of each learner of the usual members before anything is known of them; their sum is 1."""
        usual = [m.features.name for m in self._members if not m.features.fallback]
        given = {f"{name}.{kind}": self._params.weights.get(kind, 0.0) for name in usual for kind in KINDS}
        return {name: weight / sum(given.values()) for name, weight in given.items()}

    def save(self, folder: Path) -> None:
        """Write members, which features each of them knows, and the weights."""
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
