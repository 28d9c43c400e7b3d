"""Gradient-boosted trees (LightGBM), stored as text, so that a stored model needs no pickle.

Several ensembles are fitted at once, each on one thread: LightGBM's own threads wait for each other at every step,
which on a busy machine made training forty times slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dualcast.arrays import Floats

Matrix = NDArray[np.float32]

# With fewer rows than this nothing is fitted.
_FEWEST_ROWS = 50


class TreeParams(BaseModel):
    """Parameters of the trees, named as LightGBM names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(300, gt=0)
    learning_rate: float = Field(0.06, gt=0, le=1)
    num_leaves: int = Field(31, ge=2)
    min_data_in_leaf: int = Field(20, ge=1)
    feature_fraction: float = Field(0.6, gt=0, le=1)
    bagging_fraction: float = Field(0.8, gt=0, le=1)
    lambda_l2: float = Field(1.0, ge=0)
    max_bin: int = Field(255, ge=2)
    seed: int = 1


class Trees:
    """One boosted ensemble; features may be unknown (NaN)."""

    def __init__(self, params: TreeParams) -> None:
        self._params = params
        self._booster: lgb.Booster | None = None

    def fit(self, matrix: Matrix, target: Floats) -> None:
        """Fit on (n, features) and (n,), without rows whose target is unknown. Deterministic."""
        known = np.isfinite(target)
        if known.sum() < _FEWEST_ROWS:
            return
        settings = self._params.model_dump(exclude={"rounds"}) | {
            "objective": "l2",
            "bagging_freq": 1,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        data = lgb.Dataset(matrix[known], target[known])
        self._booster = lgb.train(settings, data, self._params.rounds)

    def predict(self, matrix: Matrix) -> Floats:
        """(n,) predictions, NaN where nothing was fitted. One thread: services scale by processes, Spark by tasks."""
        if self._booster is None:
            return np.full(len(matrix), np.nan)
        out: Floats = self._booster.predict(matrix, num_threads=1)
        return out

    def save(self, path: Path) -> None:
        """Write the trees as text."""
        path.write_text("" if self._booster is None else self._booster.model_to_string(), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        text = path.read_text(encoding="utf-8")
        self._booster = lgb.Booster(model_str=text) if text else None


@dataclass(frozen=True)
class Growth:
    """One ensemble to fit, on rows (n, features) and targets (n,)."""

    trees: Trees
    matrix: Matrix
    target: Floats


def grow(growths: Iterable[Growth], threads: int) -> None:
    """Fit ensembles, ``threads`` at once."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(g.trees.fit, g.matrix, g.target) for g in growths]:
            done.result()
