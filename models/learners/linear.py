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

from dualcast.arrays import Floats, Ints
from models.inputs import Layout, ModelInputs
from models.learners.kernels import Landmarks, evened, landmarks, likeness, places

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
# Likenesses may say about as much as what nothing explains.
_PENALTY_OF_LIKENESS = 0.5
# A regressor that spreads less is a constant.
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class _Learned:
    """What is learned: (entities + 1, slots, horizons, coefficients), and the same of the regressors alone.

    ``spread`` is the standard deviation of the plain ones, ``marks`` the landmarks among them.
    """

    coefficients: Floats
    means: Floats
    spread: Floats
    marks: Landmarks

    def at(self, horizon: int) -> _Learned:
        """A view of one horizon."""
        coefficients, means, spread = (of[:, :, horizon] for of in (self.coefficients, self.means, self.spread))
        return _Learned(coefficients, means, spread, self.marks[:, :, horizon])

    @classmethod
    def nothing(cls, groups: tuple[int, int, int], plain: int, coded: int, marks: int) -> _Learned:
        """Room for what so many groups learn from so many regressors and landmarks."""
        coefficients, means = (
            np.full((*groups, plain + coded + marks + 1), np.nan),
            np.full((*groups, plain + coded), np.nan),
        )
        places = np.full((*groups, marks, plain), np.nan, dtype=np.float16)
        return cls(coefficients, means, np.full((*groups, plain), np.nan), places)


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
        landmarks: int = 0,
    ) -> None:
        """``alpha`` is the penalty, one or of each horizon.

        A row whose leave-one-out residual is more than ``outlier`` times the usual one is not learned from. A level
        that lies further from its mean than ``reach`` times its spread counts as that far. Likeness to so many
        ``landmarks`` counts too: see ``likeness``.
        """
        self._layout = layout
        self._alpha = np.broadcast_to(alpha, layout.horizons)
        self._outlier, self._spreads, self._count = outlier, reach, landmarks
        self._plain = layout.columns([n for n in features if n not in layout.codes])
        self._levels = np.isin([n for n in features if n not in layout.codes], layout.levels)
        self._coded = [(layout.column[n], layout.codes[n]) for n in features if n in layout.codes]
        # of each group: the coefficients, those of the landmarks and the constant last; means and spreads; landmarks
        self._coefficients: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._means: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._spread: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._marks: Landmarks = np.empty(0, dtype=np.float16)
        self.fitted: Floats = np.empty(0)

    def fit(self, inputs: ModelInputs, target: Floats) -> None:
        """Learn from (n, H) targets; NaN targets are left out."""
        layout = self._layout
        entities = len(layout.entities)
        # the last "entity" is all of them together
        groups = (entities + 1, layout.slots_per_day, layout.horizons)
        learned = _Learned.nothing(groups, len(self._plain), sum(size for _, size in self._coded), self._count)
        self.fitted = np.full(target.shape, np.nan)
        # BLAS's own threads cost more than they give on matrices as small as these: 39 s instead of 6 s
        with threadpool_limits(1, user_api="blas"):
            for horizon in range(layout.horizons):
                self._fit_horizon(learned.at(horizon), inputs, target, horizon)
        self._coefficients = learned.coefficients.astype(np.float32)
        self._means = learned.means.astype(np.float32)
        self._spread, self._marks = learned.spread.astype(np.float32), learned.marks.astype(np.float32)

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; NaN where too much is unknown or a time of day was never seen."""
        where = inputs.entity[:, np.newaxis], inputs.clock, np.arange(self._layout.horizons)
        chosen, means, spread = self._coefficients[where], self._means[where], self._spread[where]
        count = len(self._plain)
        values: NDArray[np.float32] = inputs.values[:, :, self._plain]
        known = np.isfinite(values)
        usual = means[:, :, :count]
        filled = self._within(np.where(known, values, usual), usual, spread)
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
        if self._count:
            out += self._by_likeness(inputs, self._places(filled, usual, spread))
        return np.where(unknown <= self._most_unknown, out, np.nan)

    def save(self, path: Path) -> None:
        """Write the coefficients to a file."""
        np.savez_compressed(
            path,
            coefficients=self._coefficients,
            means=self._means,
            spread=self._spread,
            marks=self._marks.astype(np.float16),
        )

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            self._coefficients, self._means = stored["coefficients"], stored["means"]
            self._spread, self._marks = stored["spread"], stored["marks"].astype(np.float32)

    @property
    def _most_unknown(self) -> float:
        """How many features a row may lack."""
        return _MOST_UNKNOWN * (len(self._plain) + len(self._coded))

    def _fit_horizon(self, out: _Learned, inputs: ModelInputs, target: Floats, horizon: int) -> None:
        """Fill in what one horizon learns.

        Every group of rows that is large enough has its own: all rows, each time of day, each entity at each. What is
        too small keeps those of the wider group.
        """
        design, y = self._design(inputs, horizon), target[:, horizon]
        unknown = np.isnan(inputs.values[:, horizon, [*self._plain, *(column for column, _ in self._coded)]])
        rows = np.flatnonzero((unknown.sum(axis=1) <= self._most_unknown) & np.isfinite(y))
        clock, entity = inputs.clock[rows, horizon], inputs.entity[rows]
        enough = _ROWS_PER_COEFFICIENT * (out.means.shape[2] + 1)
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
        count = len(self._plain)
        usual, spread = means[:count], filled[:, :count].std(axis=0)
        out.spread[where] = spread
        filled[:, :count] = self._within(filled[:, :count], usual, spread)
        penalty = np.full(filled.shape[1], self._alpha[horizon])
        if not self._count:
            out.coefficients[where], self.fitted[rows, horizon] = _robust_ridge(filled, y[rows], penalty, self._outlier)
            return
        at = self._places(filled[:, :count], usual, spread)
        out.marks[where] = marks = landmarks(at, self._count)
        out.coefficients[where], self.fitted[rows, horizon] = _ridge_with(
            marks, at, filled, y[rows], penalty, self._outlier
        )

    def _by_likeness(self, inputs: ModelInputs, at: Floats) -> Floats:
        """What the landmarks add, (n, H), by the places (n, H, p) of rows."""
        out, width = np.empty(inputs.clock.shape), self._means.shape[-1]
        slots = self._layout.slots_per_day
        for horizon in range(self._layout.horizons):
            keys = inputs.entity * slots + inputs.clock[:, horizon]
            for key, mine in _groups(keys, np.arange(len(inputs))):
                group = (*divmod(key, slots), horizon)
                like = likeness(at[mine, horizon], self._marks[group])
                out[mine, horizon] = like @ self._coefficients[group][width:-1]
        return out

    def _places(self, values: Floats, usual: Floats, spread: Floats) -> Floats:
        """Where rows of plain regressors lie among each other; a constant says nothing of that."""
        return places((values - usual) / np.where(spread > _NO_SPREAD, spread, np.inf), self._levels)

    def _within(self, values: Floats, usual: Floats, spread: Floats) -> Floats:
        """Plain regressors (..., p), the levels among them no further from the usual than they are believed."""
        if not np.isfinite(self._spreads):
            return values
        reach = np.where(self._levels, self._spreads * spread, np.inf)
        return np.clip(values, usual - reach, usual + reach)

    def _design(self, inputs: ModelInputs, horizon: int) -> Floats:
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


def _ridge_with(
    marks: Landmarks, at: Floats, design: Floats, y: Floats, alpha: Floats, outlier: float
) -> tuple[Floats, Floats]:
    """As ``_robust_ridge``, with the likeness of rows at some places to landmarks; its coefficients come last."""
    even = evened(marks)
    alike = likeness(at, marks) @ even
    # likenesses are not to be brought to one spread as other regressors are: what hardly varies says hardly anything
    penalty = _PENALTY_OF_LIKENESS / np.maximum(alike.var(axis=0), _NO_SPREAD)
    found, fitted = _robust_ridge(np.hstack([design, alike]), y, np.append(alpha, penalty), outlier)
    of_design, of_alike = np.split(found[:-1], [design.shape[1]])
    return np.concatenate([of_design, even @ of_alike, found[-1:]]), fitted


def _robust_ridge(design: Floats, y: Floats, alpha: Floats, outlier: float) -> tuple[Floats, Floats]:
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


def _ridge(design: Floats, y: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Coefficients with the constant last, and leave-one-out predictions of the rows; ``alpha`` of each regressor."""
    centre, spread = design.mean(axis=0), design.std(axis=0)
    spread = np.where(spread > _NO_SPREAD, spread, np.inf)
    scaled = (design - centre) / spread
    level = y.mean()
    inverse = np.linalg.inv(scaled.T @ scaled + np.diag(alpha))
    slope = inverse @ (scaled.T @ (y - level))
    leverage = ((scaled @ inverse) * scaled).sum(axis=1) + 1 / len(y)
    residual = (y - level - scaled @ slope) / (1 - np.minimum(leverage, _MAX_LEVERAGE))
    weights = slope / spread
    return np.append(weights, level - centre @ weights), y - residual
