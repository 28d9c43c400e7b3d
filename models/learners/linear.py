"""Ridge regressions, one for each time of day and horizon of each entity.

Load at one clock time follows a few levels almost linearly, and differently at every clock time: thousands of small
regressions capture that better than one large one, and take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.inputs import Floats, Inputs, Ints, Layout

# A leave-one-out residual is at most this many times the plain one: rows that alone decide a coefficient say little.
_MAX_LEVERAGE = 0.9
# A regression needs this many rows for each coefficient; else it borrows that of a wider group.
_ROWS_PER_COEFFICIENT = 3
# Below this nothing is learned at all.
_FEWEST_ROWS = 30
# Rows are looked through for outliers at most so many times.
_ROUNDS = 3
# An unknown regressor counts as its mean; a row that lacks more than this share of them gets no prediction.
_MOST_UNKNOWN = 0.3


@dataclass(frozen=True)
class _Learned:
    """What is learned: (entities + 1, slots, horizons, coefficients), and the same without the constant.

    ``reach`` is how far from its mean a regressor is believed.
    """

    coefficients: Floats
    means: Floats
    reach: Floats

    def at(self, horizon: int) -> _Learned:
        """A view of one horizon."""
        return _Learned(self.coefficients[:, :, horizon], self.means[:, :, horizon], self.reach[:, :, horizon])


class GroupedRidge:
    """Ridge regressions on some features, with a level for each code of the coded ones.

    Rows that lack many features get NaN. ``fitted`` holds, after ``fit``, leave-one-out predictions of the training
    rows in closed form (the hat matrix), so that another learner can be trained on honest residuals.
    """

    def __init__(
        self,
        layout: Layout,
        features: Sequence[str],
        alpha: float | Sequence[float],
        outlier: float = np.inf,
        reach: float = np.inf,
    ) -> None:
        """``alpha`` is the penalty, one or of each horizon.

        A row whose leave-one-out residual is more than ``outlier`` times the usual one is not learned from. A level
        that lies further from its mean than ``reach`` times its spread counts as that far.
        """
        self._layout = layout
        self._alpha = np.broadcast_to(alpha, layout.horizons)
        self._outlier, self._spreads = outlier, reach
        self._plain = layout.columns([n for n in features if n not in layout.codes])
        self._levels = np.isin([n for n in features if n not in layout.codes], layout.levels)
        self._coded = [(layout.column[n], layout.codes[n]) for n in features if n in layout.codes]
        # of each group: the coefficients with the constant last, the means of the regressors, how far they are believed
        self._coefficients: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._means: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._reach: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self.fitted: Floats = np.empty(0)

    def fit(self, inputs: Inputs, target: Floats) -> None:
        """Learn from (n, H) targets; NaN targets are left out."""
        layout = self._layout
        entities = len(layout.entities)
        width = len(self._plain) + sum(count for _, count in self._coded) + 1
        # the last "entity" is all of them together
        shape = (entities + 1, layout.slots_per_day, layout.horizons, width)
        of_regressors = *shape[:-1], width - 1
        learned = _Learned(np.full(shape, np.nan), np.full(of_regressors, np.nan), np.full(of_regressors, np.inf))
        self.fitted = np.full(target.shape, np.nan)
        # BLAS's own threads cost more than they give on matrices as small as these: 39 s instead of 6 s
        with threadpool_limits(1, user_api="blas"):
            for horizon in range(layout.horizons):
                self._fit_horizon(learned.at(horizon), inputs, target, horizon)
        self._coefficients = learned.coefficients.astype(np.float32)
        self._means = learned.means.astype(np.float32)
        self._reach = learned.reach[..., : len(self._plain)].astype(np.float32)

    def predict(self, inputs: Inputs) -> Floats:
        """(n, H) predictions; NaN where too much is unknown or a time of day was never seen."""
        where = inputs.entity[:, np.newaxis], inputs.clock, np.arange(self._layout.horizons)
        chosen, means = self._coefficients[where], self._means[where]
        count = len(self._plain)
        values: NDArray[np.float32] = inputs.values[:, :, self._plain]
        known = np.isfinite(values)
        usual = means[:, :, :count]
        filled = np.where(known, values, usual)
        if np.isfinite(self._spreads):
            reach = self._reach[where]
            filled = np.clip(filled, usual - reach, usual + reach)
        out: Floats = np.einsum("nhp,nhp->nh", filled, chosen[:, :, :count], dtype=np.float64) + chosen[:, :, -1]
        unknown = (~known).sum(axis=2)
        first = count
        for column, size in self._coded:
            code = inputs.values[:, :, column]
            levels = slice(first, first + size)
            given = np.isfinite(code)
            index = first + np.where(given, code, 0).astype(np.int64)
            level = np.take_along_axis(chosen, index[:, :, np.newaxis], axis=2)[:, :, 0]
            mixed = (chosen[:, :, levels] * means[:, :, levels]).sum(axis=2)
            out += np.where(given, level, mixed)
            unknown += ~given
            first += size
        return np.where(unknown <= self._most_unknown, out, np.nan)

    def save(self, path: Path) -> None:
        """Write the coefficients to a file."""
        np.savez_compressed(path, coefficients=self._coefficients, means=self._means, reach=self._reach)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            self._coefficients, self._means = stored["coefficients"], stored["means"]
            self._reach = stored["reach"]

    @property
    def _most_unknown(self) -> float:
        """How many features a row may lack."""
        return _MOST_UNKNOWN * (len(self._plain) + len(self._coded))

    def _fit_horizon(self, out: _Learned, inputs: Inputs, target: Floats, horizon: int) -> None:
        """Fill in what one horizon learns.

        Every group of rows that is large enough has its own: all rows, each time of day, each entity at each. What is
        too small keeps those of the wider group.
        """
        design, y = self._design(inputs, horizon), target[:, horizon]
        unknown = np.isnan(inputs.values[:, horizon, [*self._plain, *(column for column, _ in self._coded)]])
        rows = np.flatnonzero((unknown.sum(axis=1) <= self._most_unknown) & np.isfinite(y))
        clock, entity = inputs.clock[rows, horizon], inputs.entity[rows]
        enough = _ROWS_PER_COEFFICIENT * out.coefficients.shape[2]
        slots = out.coefficients.shape[1]
        everywhere = slice(None)
        if (np.bincount(clock, minlength=slots) < enough).any():
            self._fit_group(out, (everywhere, everywhere), design, y, rows, horizon)
        for slot, mine in _groups(clock, rows):
            if len(mine) >= enough:
                self._fit_group(out, (everywhere, slot), design, y, mine, horizon)
        for key, mine in _groups(entity * slots + clock, rows) if len(self._layout.entities) > 1 else ():
            if len(mine) >= enough:
                self._fit_group(out, divmod(key, slots), design, y, mine, horizon)

    def _fit_group(
        self, out: _Learned, where: tuple[slice | int, slice | int], design: Floats, y: Floats, rows: Ints, horizon: int
    ) -> None:
        if len(rows) < _FEWEST_ROWS:
            return
        group = design[rows]
        known = np.isfinite(group)
        means = np.where(known, group, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, group, means)
        out.means[where] = means
        if np.isfinite(self._spreads):
            count = len(self._plain)
            reach = np.where(self._levels, self._spreads * filled[:, :count].std(axis=0), np.inf)
            out.reach[where][..., :count] = reach
            filled[:, :count] = np.clip(filled[:, :count], means[:count] - reach, means[:count] + reach)
        out.coefficients[where], self.fitted[rows, horizon] = _robust_ridge(
            filled, y[rows], float(self._alpha[horizon]), self._outlier
        )

    def _design(self, inputs: Inputs, horizon: int) -> Floats:
        """The regressors of one horizon: (n, coefficients without the constant)."""
        values = inputs.values[:, horizon].astype(np.float64)
        blocks = [values[:, self._plain]]
        for column, size in self._coded:
            code = values[:, column, np.newaxis]
            blocks.append(np.where(np.isfinite(code), code == np.arange(size), np.nan))
        return np.concatenate(blocks, axis=1)


def _groups(keys: Ints, rows: Ints) -> Iterator[tuple[int, Ints]]:
    """Each key with its rows."""
    order = np.argsort(keys, kind="stable")
    found, begin = np.unique(keys[order], return_index=True)
    yield from zip(found.tolist(), np.split(rows[order], begin[1:]), strict=False)


def _robust_ridge(design: Floats, y: Floats, alpha: float, outlier: float) -> tuple[Floats, Floats]:
    """As ``_ridge``, without the rows that lie far from what the others say of them: a wrong value ruins a regression.

    What is said of these rows is the prediction of a regression that did not learn from them.
    """
    kept = np.ones(len(y), dtype=bool)
    weights, fitted = _ridge(design, y, alpha)
    for _ in range(_ROUNDS - 1 if np.isfinite(outlier) else 0):
        residual = np.abs(y - fitted)
        usual = residual <= outlier * np.sqrt(np.mean(residual[kept] ** 2))
        if (usual == kept).all() or usual.sum() < _FEWEST_ROWS:
            break
        kept = usual
        weights, of_kept = _ridge(design[kept], y[kept], alpha)
        fitted = design @ weights[:-1] + weights[-1]
        fitted[kept] = of_kept
    return weights, fitted


def _ridge(design: Floats, y: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Coefficients with the constant last, and leave-one-out predictions of the rows."""
    centre, spread = design.mean(axis=0), design.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    scaled = (design - centre) / spread
    level = y.mean()
    inverse = np.linalg.inv(scaled.T @ scaled + alpha * np.eye(scaled.shape[1]))
    slope = inverse @ (scaled.T @ (y - level))
    leverage = ((scaled @ inverse) * scaled).sum(axis=1) + 1 / len(y)
    residual = (y - level - scaled @ slope) / (1 - np.minimum(leverage, _MAX_LEVERAGE))
    weights = slope / spread
    return np.append(weights, level - centre @ weights), y - residual
