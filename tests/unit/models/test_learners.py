"""Ridge regressions, trees, neural networks and intervals on synthetic data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from models.inputs import Layout, ModelInputs
from models.intervals.conformal import ConformalIntervals
from models.learners.linear import GroupedRidge
from models.learners.nets import NetParams, Nets
from models.learners.trees import Growth, TreeParams, Trees, grow

DAYS = 120


@pytest.fixture
def layout(use_case: UseCase) -> Layout:
    plain = Layout.of(use_case, "day-ahead").model_copy(
        update={"features": ("a", "b"), "codes": {"b": 3}, "entities": ("x", "y")}
    )
    return Layout.model_validate(plain.model_dump())


def _examples(seed: int = 3) -> tuple[ModelInputs, Floats]:
    """Two entities whose slope rises with the hour, and is opposite in sign between them; code 2 adds 10."""
    rng = np.random.default_rng(seed)
    clock = np.tile(np.arange(24), DAYS * 2)
    entity = np.repeat([0, 1], DAYS * 24)
    a, b = rng.standard_normal(len(clock)), rng.integers(0, 3, len(clock))
    target = np.where(entity == 0, 1, -1) * clock * a + 10 * (b == 2)
    values = np.stack([a, b], axis=1)[:, np.newaxis].astype(np.float32)
    return ModelInputs(values, np.ones(len(clock)), clock[:, np.newaxis], entity), target[:, np.newaxis]


def test_each_hour_of_each_entity_has_its_own_slope(layout: Layout) -> None:
    inputs, target = _examples()
    ridge = GroupedRidge(layout, ["a", "b"], alpha=1e-6)
    ridge.fit(inputs, target)
    fresh, truth = _examples(seed=4)
    np.testing.assert_allclose(ridge.predict(fresh), truth, atol=1e-3)


@pytest.mark.parametrize("wrong", ["target", "input"])
def test_outliers_are_excluded_from_training(layout: Layout, wrong: str) -> None:
    inputs, target = _examples()
    row = int(np.flatnonzero((inputs.clock[:, 0] == 20) & (inputs.entity == 0))[5])
    if wrong == "target":
        target[row] = 1e4
    else:
        inputs.values[row, 0, 0] = 15
    fresh, truth = _examples(seed=4)
    mine = (fresh.clock[:, 0] == 20) & (fresh.entity == 0)
    errors = []
    for outlier in (6.0, np.inf):
        ridge = GroupedRidge(layout, ["a", "b"], alpha=1e-6, outlier=outlier)
        ridge.fit(inputs, target)
        errors.append(np.abs(ridge.predict(fresh) - truth)[mine].max())
    assert errors[0] < 0.01
    assert errors[1] > 1


def test_an_extreme_input_is_clipped(layout: Layout, tmp_path: Path) -> None:
    inputs, target = _examples()
    layout = layout.model_copy(update={"levels": ("a",)})
    ridge, again = (GroupedRidge(layout, ["a", "b"], alpha=1e-6, clip=5.0) for _ in range(2))
    ridge.fit(inputs, target)
    ridge.save(tmp_path / "ridge.npz")
    again.load(tmp_path / "ridge.npz")
    fresh, truth = _examples(seed=4)
    np.testing.assert_allclose(again.predict(fresh), truth, atol=1e-3)
    wild = inputs.clock[:, 0] == 20
    fresh.values[wild, 0, 0] = 1000
    # the slope is the hour, the spread of the input about 1, and code 2 adds 10
    level = np.abs(again.predict(fresh)[wild, 0] - 10 * (fresh.values[wild, 0, 1] == 2))
    np.testing.assert_allclose(level, 20 * 5, rtol=0.25)


def test_each_horizon_has_its_own_penalty(layout: Layout) -> None:
    inputs, target = _examples()
    two = ModelInputs(
        np.repeat(inputs.values, 2, axis=1), inputs.scale, np.repeat(inputs.clock, 2, axis=1), inputs.entity
    )
    ridge = GroupedRidge(layout.model_copy(update={"horizons": 2}), ["a", "b"], alpha=[1e-6, 1e6])
    ridge.fit(two, np.repeat(target, 2, axis=1))
    near, far = (ridge.predict(two)[:, horizon].std() for horizon in (0, 1))
    assert near == pytest.approx(target.std(), rel=0.01)
    assert far < 0.7 * near


def test_an_unknown_entity_gets_the_pooled_prediction(layout: Layout) -> None:
    inputs, target = _examples()
    ridge = GroupedRidge(layout, ["a", "b"], alpha=1e-6)
    ridge.fit(inputs, target)
    stranger = ModelInputs(inputs.values, inputs.scale, inputs.clock, np.full(len(inputs), -1))
    # opposite slopes cancel; the effect of code 2 remains
    level = ridge.predict(stranger)[inputs.values[:, 0, 1] == 2].mean()
    assert level == pytest.approx(10, abs=1)


def test_fitted_values_are_leave_one_out(layout: Layout) -> None:
    inputs, target = _examples()
    noisy = target + np.random.default_rng(1).standard_normal(target.shape)
    ridge = GroupedRidge(layout, ["a", "b"], alpha=1.0)
    ridge.fit(inputs, noisy)
    row = 500
    without = noisy.copy()
    without[row] = np.nan
    other = GroupedRidge(layout, ["a", "b"], alpha=1.0)
    other.fit(inputs, without)
    # the closed form holds centre and spread of the regressors fixed, which one row in 120 hardly moves
    assert ridge.fitted[row, 0] == pytest.approx(other.predict(inputs)[row, 0], abs=0.02)
    assert abs(ridge.fitted[row, 0] - noisy[row, 0]) > abs(ridge.predict(inputs)[row, 0] - noisy[row, 0])


def test_landmarks_fit_a_nonlinear_target_with_leave_one_out_fitted_values(layout: Layout, tmp_path: Path) -> None:
    inputs, target = _examples()
    bent = target + 3 * np.sin(3 * inputs.values[:, :, 0].astype(np.float64))
    fresh, truth = _examples(seed=4)
    truth = truth + 3 * np.sin(3 * fresh.values[:, :, 0].astype(np.float64))
    straight, ridge = (GroupedRidge(layout, ["a", "b"], alpha=0.1, landmarks=count) for count in (0, 50))
    for each in (straight, ridge):
        each.fit(inputs, bent)
    inside = np.abs(fresh.values[:, :, 0]) < 2
    missed, left = (np.abs(each.predict(fresh) - truth)[inside].mean() for each in (straight, ridge))
    assert left < missed / 2
    assert np.abs(ridge.fitted - bent).mean() > np.abs(ridge.predict(inputs) - bent).mean()
    ridge.save(tmp_path / "ridge.npz")
    loaded = GroupedRidge(layout, ["a", "b"], alpha=0.1, landmarks=50)
    loaded.load(tmp_path / "ridge.npz")
    np.testing.assert_array_equal(loaded.predict(fresh), ridge.predict(fresh))


def test_far_from_all_landmarks_a_ridge_is_linear(layout: Layout) -> None:
    inputs, _ = _examples()
    ridges = [GroupedRidge(layout, ["a", "b"], alpha=1e-6, landmarks=count) for count in (0, 50)]
    inputs.values[:, 0, 0] = 1000
    far = []
    for ridge in ridges:
        ridge.fit(*_examples())
        far.append(ridge.predict(inputs))
    np.testing.assert_allclose(far[1], far[0], rtol=0.01, atol=1)


def test_a_ridge_predicts_nan_if_a_feature_is_unknown(layout: Layout) -> None:
    inputs, target = _examples()
    ridge = GroupedRidge(layout, ["a", "b"], alpha=1.0)
    ridge.fit(inputs, target)
    inputs.values[3, 0, 0] = np.nan
    inputs.values[4, 0, 1] = np.nan
    assert np.isnan(ridge.predict(inputs)[:, 0]).nonzero()[0].tolist() == [3, 4]


def test_with_little_history_hours_share_one_regression(layout: Layout) -> None:
    inputs, target = _examples()
    short = inputs.take(slice(0, 96))
    ridge = GroupedRidge(layout, ["a", "b"], alpha=1.0)
    ridge.fit(short, target[:96])
    assert np.isfinite(ridge.predict(inputs)).all()


def test_trees_are_deterministic_and_unchanged_after_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((2000, 4)).astype(np.float32)
    target = matrix[:, 0] * matrix[:, 1] + 0.1 * rng.standard_normal(2000)
    first, second, third = (Trees(TreeParams(rounds=30)) for _ in range(3))
    grow([Growth(t, matrix, target) for t in (first, second)], threads=2)
    np.testing.assert_array_equal(first.predict(matrix), second.predict(matrix))
    first.save(tmp_path / "trees.txt")
    third.load(tmp_path / "trees.txt")
    np.testing.assert_array_equal(first.predict(matrix), third.predict(matrix))


def test_trees_without_training_targets_predict_nan(tmp_path: Path) -> None:
    trees, loaded = Trees(TreeParams()), Trees(TreeParams())
    matrix = np.zeros((100, 2), dtype=np.float32)
    trees.fit(matrix, np.full(100, np.nan))
    trees.save(tmp_path / "trees.txt")
    loaded.load(tmp_path / "trees.txt")
    assert np.isnan(loaded.predict(matrix)).all()


def test_nets_fit_a_nonlinear_target_deterministically_and_are_unchanged_after_saving(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(3000, 4)).astype(np.float32)
    target = np.stack([np.abs(rows[:, 0]), rows[:, 1] * rows[:, 2]], axis=1).astype(np.float64)
    known = target.copy()
    known[::3, 1] = np.nan
    nets, again = (Nets(NetParams(count=2, hidden=(32,), epochs=60, batch=100)) for _ in range(2))
    nets.fit(rows, known)
    again.fit(rows, known)
    np.testing.assert_array_equal(again.predict(rows), nets.predict(rows))
    usual = np.abs(target - target.mean(axis=0)).mean(axis=0)
    assert (np.abs(nets.predict(rows) - target).mean(axis=0) < 0.4 * usual).all()
    nets.save(tmp_path / "nets.npz")
    again.load(tmp_path / "nets.npz")
    np.testing.assert_array_equal(again.predict(rows), nets.predict(rows))
    again.fit(rows[:50], known[:50])
    assert not again.fitted


def test_intervals_have_nominal_coverage_in_every_part_of_the_day() -> None:
    rng = np.random.default_rng(6)
    clock = np.tile(np.arange(24), 400)[:, np.newaxis]
    spread = 2 + np.sin(clock / 12 * np.pi)
    residuals, fresh = (spread * rng.standard_normal(clock.shape) for _ in range(2))
    intervals = ConformalIntervals.fit(residuals, clock, (0.1, 0.5, 0.9), 24, parts=24)
    quantiles = intervals.apply(np.full(clock.shape, 100.0), np.full(len(clock), 2.0), clock)[:, 0]
    inside = (100 + 2 * fresh[:, 0] >= quantiles[:, 0]) & (100 + 2 * fresh[:, 0] <= quantiles[:, 2])
    by_hour = [inside[clock[:, 0] == hour].mean() for hour in range(24)]
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    assert min(by_hour) > 0.7
    assert (quantiles[:, 1] == 100).all()


def test_quantiles_do_not_cross_if_all_errors_have_one_sign(tmp_path: Path) -> None:
    residuals = np.abs(np.random.default_rng(7).standard_normal((500, 2)))
    clock = np.zeros((500, 2), dtype=np.int64)
    intervals = ConformalIntervals.fit(residuals, clock, (0.025, 0.1, 0.5, 0.9, 0.975), 1, parts=8)
    intervals.save(tmp_path / "intervals.npz")
    again = ConformalIntervals.load(tmp_path / "intervals.npz")
    quantiles = again.apply(np.ones((500, 2)), np.ones(500), clock)
    assert (np.diff(quantiles, axis=2) >= 0).all()
    assert again.levels == (0.025, 0.1, 0.5, 0.9, 0.975)
