"""Small neural nets, averaged, that predict all horizons of an origin at once.

Their errors differ from those of trees and ridges, which is what makes an average better than its members. scikit-learn
trains them; a prediction is a few matrix products, for which services need no scikit-learn.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from dualcast.arrays import Floats
from models.learners.origins import Rows


class NetParams(BaseModel):
    """Parameters of ``count`` nets; targets are clipped at ``clip``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(5, gt=0)
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = Field(15, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    batch: int = Field(512, gt=0)
    alpha: float = Field(0.1, ge=0)
    clip: float = Field(3.0, gt=0)


class Nets:
    """The average of some nets, with fixed seeds."""

    def __init__(self, params: NetParams) -> None:
        self._params = params
        # for each net: weights and offsets of each layer in turn
        self._nets: list[list[Rows]] = []

    def fit(self, rows: Rows, target: Floats) -> None:
        """Fit on (n, p) and (n, H), on rows with all targets known; nothing is fitted on less than one batch."""
        known = np.isfinite(target).all(axis=1)
        clipped = np.clip(target[known], -self._params.clip, self._params.clip).astype(np.float32)
        enough = len(clipped) >= self._params.batch
        self._nets = [self._trained(rows[known], clipped, seed) for seed in range(self._params.count)] if enough else []

    @property
    def fitted(self) -> bool:
        """Whether there were enough rows to fit."""
        return bool(self._nets)

    def predict(self, rows: Rows) -> Floats:
        """(n, H) predictions of fitted nets."""
        found: Floats = np.mean([_output(net, rows) for net in self._nets], axis=0, dtype=np.float64)
        return found

    def save(self, path: Path) -> None:
        """Write the weights."""
        np.savez(path, **{f"{i}_{j:02d}": part for i, net in enumerate(self._nets) for j, part in enumerate(net)})

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        parts = 2 * len(self._params.hidden) + 2
        with np.load(path) as stored:
            self._nets = [[stored[f"{i}_{j:02d}"] for j in range(parts)] for i in range(len(stored.files) // parts)]

    def _trained(self, rows: Rows, target: Rows, seed: int) -> list[Rows]:
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 -- services predict without scikit-learn
        from sklearn.neural_network import MLPRegressor  # noqa: PLC0415

        p = self._params
        net = MLPRegressor(
            hidden_layer_sizes=p.hidden,
            alpha=p.alpha,
            batch_size=p.batch,
            learning_rate_init=p.learning_rate,
            max_iter=p.epochs,
            beta_2=0.99,
            random_state=seed,
        )
        # BLAS threads wait for each other on matrices as small as these
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is a parameter
            net.fit(rows, target)
        return [part for layer in zip(net.coefs_, net.intercepts_, strict=True) for part in layer]


def _output(net: list[Rows], rows: Rows) -> Rows:
    """The output of one net, (n, H)."""
    for i in range(0, len(net) - 2, 2):
        rows = np.maximum(rows @ net[i] + net[i + 1], 0)
    return rows @ net[-2] + net[-1]
