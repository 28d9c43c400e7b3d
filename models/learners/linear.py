"""Ridge regressions, one for each time of day and horizon of each entity.

Load at one time of day is nearly linear in a few level features, with other coefficients at every time of day:
thousands of small regressions fit that better than one large one, and take seconds.
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
from models.learners.kernels import Landmarks, choose_landmarks, gaussian_kernel, weighted
from models.learners.ridge import CONSTANT, FEWEST_ROWS, kernel_ridge, robust_ridge

# A group with fewer rows for each coefficient uses the coefficients of a wider group.
_ROWS_PER_COEFFICIENT = 3
# An unknown regressor counts as its mean; a row that lacks more than this share of them gets no prediction.
_MOST_UNKNOWN = 0.3


@dataclass(frozen=True)
class _Fitted:
    """Arrays of (entities + 1, slots of the day, horizons, ...), being filled group by group.

    coefficients: those of the regressors, of the landmarks and the constant; means: of all regressors;
    deviations: standard deviations of the plain regressors; landmarks: (..., landmarks, plain regressors)
    """

    coefficients: Floats
    means: Floats
    deviations: Floats
    landmarks: Landmarks

    def at(self, horizon: int) -> _Fitted:
        """A view of one horizon."""
        arrays = (self.coefficients, self.means, self.deviations)
        coefficients, means, deviations = (array[:, :, horizon] for array in arrays)
        return _Fitted(coefficients, means, deviations, self.landmarks[:, :, horizon])

    @classmethod
    def empty(cls, groups: tuple[int, int, int], plain: int, coded: int, landmarks: int) -> _Fitted:
        """NaN for so many groups, regressors and landmarks."""
        return cls(
            np.full((*groups, plain + coded + landmarks + 1), np.nan),
            np.full((*groups, plain + coded), np.nan),
            np.full((*groups, plain), np.nan),
            np.full((*groups, landmarks, plain), np.nan, dtype=np.float16),
        )


class GroupedRidge:
    """Ridge regressions on some features, with a coefficient for each code of the coded ones.

    Rows that lack many features get NaN. ``fitted`` holds, after ``fit``, leave-one-out predictions of the training
    rows in closed form (the hat matrix), on whose residuals another learner can be trained.
    """

    def __init__(
        self,
        layout: Layout,
        features: Sequence[str],
        alpha: float | Sequence[float],
        outlier: float = np.inf,
        clip: float = np.inf,
        landmarks: int = 0,
    ) -> None:
        """``alpha`` is the penalty, one or of each horizon.

        Rows whose leave-one-out residual is more than ``outlier`` times the root mean square are not fitted on. Levels
        are clipped at ``clip`` standard deviations from their mean. With ``landmarks``, kernel values are regressors
        too: see ``kernels``.
        """
        self._layout = layout
        self._alpha = np.broadcast_to(alpha, layout.horizons)
        self._outlier, self._clip, self._count = outlier, clip, landmarks
        self._plain = layout.columns([n for n in features if n not in layout.codes])
        self._levels = np.isin([n for n in features if n not in layout.codes], layout.levels)
        self._coded = [(layout.column[n], layout.codes[n]) for n in features if n in layout.codes]
        # see _Fitted
        self._coefficients: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._means: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._deviations: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._landmarks: Landmarks = np.empty(0, dtype=np.float16)
        self.fitted: Floats = np.empty(0)

    def fit(self, inputs: ModelInputs, target: Floats) -> None:
        """Fit on (n, H) targets; NaN targets are left out."""
        layout = self._layout
        # the last "entity" is all of them together
        groups = (len(layout.entities) + 1, layout.slots_per_day, layout.horizons)
        out = _Fitted.empty(groups, len(self._plain), sum(size for _, size in self._coded), self._count)
        self.fitted = np.full(target.shape, np.nan)
        # BLAS threads slow down matrices as small as these: 39 s instead of 6 s
        with threadpool_limits(1, user_api="blas"):
            for horizon in range(layout.horizons):
                self._fit_horizon(out.at(horizon), inputs, target, horizon)
        self._coefficients = out.coefficients.astype(np.float32)
        self._means = out.means.astype(np.float32)
        self._deviations, self._landmarks = out.deviations.astype(np.float32), out.landmarks.astype(np.float32)

    def predict(self, inputs: ModelInputs) -> Floats:
        """(n, H) predictions; NaN where too many features are unknown or the time of day was not trained on."""
        where = inputs.entity[:, np.newaxis], inputs.clock, np.arange(self._layout.horizons)
        coefficients, means, deviations = self._coefficients[where], self._means[where], self._deviations[where]
        count = len(self._plain)
        values: NDArray[np.float32] = inputs.values[:, :, self._plain]
        known = np.isfinite(values)
        plain_means = means[:, :, :count]
        filled = self._clipped(np.where(known, values, plain_means), plain_means, deviations)
        out: Floats = np.einsum("nhp,nhp->nh", filled, coefficients[:, :, :count], dtype=np.float64)
        out = out + coefficients[:, :, -1]
        unknown = (~known).sum(axis=2)
        for code, added in self._coded_terms(inputs, coefficients, means):
            out += added
            unknown += ~np.isfinite(code)
        if self._count:
            out += self._kernel_term(inputs, self._kernel_inputs(filled, plain_means, deviations))
        return np.where(unknown <= self._most_unknown, out, np.nan)

    def save(self, path: Path) -> None:
        """Write the coefficients to a file."""
        np.savez_compressed(
            path,
            coefficients=self._coefficients,
            means=self._means,
            deviations=self._deviations,
            landmarks=self._landmarks.astype(np.float16),
        )

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            self._coefficients, self._means = stored["coefficients"], stored["means"]
            self._deviations, self._landmarks = stored["deviations"], stored["landmarks"].astype(np.float32)

    @property
    def _most_unknown(self) -> float:
        """How many features a row may lack."""
        return _MOST_UNKNOWN * (len(self._plain) + len(self._coded))

    def _coded_terms(
        self, inputs: ModelInputs, coefficients: Floats, means: Floats
    ) -> Iterator[tuple[NDArray[np.float32], Floats]]:
        """Of each coded feature its codes (n, H) and what it adds; an unknown code adds the mean over the codes."""
        first = len(self._plain)
        for column, size in self._coded:
            code = inputs.values[:, :, column]
            levels = slice(first, first + size)
            known = np.isfinite(code)
            index = first + np.where(known, code, 0).astype(np.int64)
            level = np.take_along_axis(coefficients, index[:, :, np.newaxis], axis=2)[:, :, 0]
            mean = (coefficients[:, :, levels] * means[:, :, levels]).sum(axis=2)
            yield code, np.where(known, level, mean)
            first += size

    def _fit_horizon(self, out: _Fitted, inputs: ModelInputs, target: Floats, horizon: int) -> None:
        """Fit the groups of one horizon: all rows, each time of day, each entity at each time of day.

        A group that is too small keeps the coefficients of the wider group.
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
        self, out: _Fitted, where: tuple[slice | int, slice | int], design: Floats, y: Floats, rows: Ints, horizon: int
    ) -> None:
        if len(rows) < FEWEST_ROWS:
            return
        group = design[rows]
        known = np.isfinite(group)
        means = np.where(known, group, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, group, means)
        out.means[where] = means
        count = len(self._plain)
        plain_means, deviations = means[:count], filled[:, :count].std(axis=0)
        out.deviations[where] = deviations
        filled[:, :count] = self._clipped(filled[:, :count], plain_means, deviations)
        alpha = np.full(filled.shape[1], self._alpha[horizon])
        if self._count:
            kernel_inputs = self._kernel_inputs(filled[:, :count], plain_means, deviations)
            out.landmarks[where] = chosen = choose_landmarks(kernel_inputs, self._count)
            found = kernel_ridge(chosen, kernel_inputs, filled, y[rows], alpha, self._outlier)
        else:
            found = robust_ridge(filled, y[rows], alpha, self._outlier)
        out.coefficients[where], self.fitted[rows, horizon] = found

    def _kernel_term(self, inputs: ModelInputs, kernel_inputs: Floats) -> Floats:
        """What the landmarks add, (n, H); ``kernel_inputs`` are (n, H, p)."""
        out, width = np.empty(inputs.clock.shape), self._means.shape[-1]
        slots = self._layout.slots_per_day
        for horizon in range(self._layout.horizons):
            keys = inputs.entity * slots + inputs.clock[:, horizon]
            for key, mine in _groups(keys, np.arange(len(inputs))):
                group = (*divmod(key, slots), horizon)
                values = gaussian_kernel(kernel_inputs[mine, horizon], self._landmarks[group])
                out[mine, horizon] = values @ self._coefficients[group][width:-1]
        return out

    def _kernel_inputs(self, values: Floats, means: Floats, deviations: Floats) -> Floats:
        """Plain regressors (..., p) as the kernel takes them, standardised and weighted; constants become 0."""
        return weighted((values - means) / np.where(deviations > CONSTANT, deviations, np.inf), self._levels)

    def _clipped(self, values: Floats, means: Floats, deviations: Floats) -> Floats:
        """Plain regressors (..., p) with the levels among them clipped near their means."""
        if not np.isfinite(self._clip):
            return values
        limit = np.where(self._levels, self._clip * deviations, np.inf)
        return np.clip(values, means - limit, means + limit)

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
