"""Ridges, boosted trees and nets for every horizon: the weight of each member, and the cost of a wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import UseCase
from models.forecasters.horizon_trees import HorizonTrees
from models.forecasters.registry import Weights
from models.inputs import Layout, ModelInputs
from models.training.fitting import Examples

Params = dict[str, Any]
NETS = {"count": 2, "hidden": [16], "epochs": 20, "batch": 64}


@pytest.fixture(scope="module")
def layout(quick: UseCase) -> Layout:
    return Layout.of(quick, "intraday")


@pytest.fixture(scope="module")
def params(quick: UseCase) -> Params:
    return quick.part("intraday").forecaster.params


@pytest.fixture(scope="module")
def with_nets(params: Params) -> Params:
    return {**params, "direct_share": 1.0, "nets": NETS}


def _early_and_late(quick: UseCase, layout: Layout, frame: pd.DataFrame) -> tuple[Examples, Examples]:
    """Examples to train on, and later ones to score with."""
    examples = Examples.of(layout, quick, frame.iloc[:-100], "actuals")
    return examples.take(slice(None, 1500)), examples.take(slice(1600, None))


def _trained(layout: Layout, params: Params, early: Examples, late: Examples) -> tuple[HorizonTrees, Weights]:
    trained = HorizonTrees(layout, params)
    trained.fit(early.inputs, early.target, 2)
    return trained, trained.weigh(late.inputs, late.target)


def _reloaded(trained: HorizonTrees, layout: Layout, params: Params, inputs: ModelInputs, folder: Path) -> HorizonTrees:
    """Save and load the forecaster, and check that its predictions are the same."""
    trained.save(folder)
    again = HorizonTrees(layout, params)
    again.load(folder)
    np.testing.assert_array_equal(again.predict(inputs), trained.predict(inputs))
    return again


def _remove_reference(layout: Layout, inputs: ModelInputs, rows: slice = slice(None)) -> None:
    """Make the reference forecast unknown."""
    inputs.values[rows, :, layout.columns(layout.readers[layout.reference or ""])] = np.nan


def test_a_better_reference_forecast_gets_a_larger_weight(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    truth = intraday_frame.assign(tso=intraday_frame["actuals"])
    weights = {}
    for name, frame in (("good", truth), ("poor", intraday_frame)):
        _, weights[name] = _trained(layout, params, *_early_and_late(quick, layout, frame))
    for step in range(1, 25):
        good, poor = (weights[name][f"all_{step:02d}"] for name in ("good", "poor"))
        assert good + weights["good"][f"own_{step:02d}"] == pytest.approx(1)
        assert good > max(0.7, poor)


def test_a_reference_forecast_that_was_missing_for_long_is_used_again(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    _remove_reference(layout, early.inputs, slice(1000, None))
    trained = HorizonTrees(layout, params)
    trained.fit(early.inputs, early.target, 2)
    back = np.nanmean(np.abs(trained.predict(late.inputs) - late.target))
    _remove_reference(layout, late.inputs)
    assert back < np.nanmean(np.abs(trained.predict(late.inputs) - late.target))


def test_direct_trees_get_a_weight_and_predict_alone_if_other_inputs_are_unknown(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    predictions = []
    for share in (0.0, 1.0):
        chosen = {**params, "direct_share": share}
        trained, weights = _trained(layout, chosen, early, late)
        assert (max(weights[f"direct_{step:02d}"] for step in range(1, 25)) > 0.05) == (share > 0)
        again = _reloaded(trained, layout, chosen, late.inputs, tmp_path)
        predictions.append(again.predict(late.inputs))
    assert np.abs(predictions[1] - predictions[0]).max() > 0.001
    newest = late.inputs.values[:, :, layout.column["load_newest"]].copy()
    others = [i for n, i in layout.column.items() if n.startswith("load_") and n != "load_newest"]
    late.inputs.values[:, :, others] = np.nan
    direct = again.predict(late.inputs)
    assert np.isfinite(direct).all()
    errors = [np.nanmean(np.abs(point - late.target)[:, -1]) for point in (direct, newest)]
    assert errors[0] < errors[1]


def test_nets_are_averaged_with_the_other_members(
    quick: UseCase, layout: Layout, with_nets: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    trained, weights = _trained(layout, with_nets, early, late)
    assert max(weights[f"nets_{step:02d}"] for step in range(1, 25)) > 0.1
    again = _reloaded(trained, layout, with_nets, late.inputs, tmp_path)
    _remove_reference(layout, late.inputs)
    assert np.isfinite(again.predict(late.inputs)).all()


def test_nets_are_left_out_if_there_are_too_few_training_rows(
    quick: UseCase, layout: Layout, with_nets: Params, intraday_frame: pd.DataFrame
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    too_few, without = (
        _trained(layout, {**with_nets, "nets": nets}, early, late)[0].predict(late.inputs)
        for nets in ({**with_nets["nets"], "batch": 2000}, None)
    )
    np.testing.assert_array_equal(too_few, without)


def test_a_model_without_a_fitted_reference_error_is_loaded(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    trained, again = (HorizonTrees(layout, params) for _ in range(2))
    trained.fit(early.inputs, early.target, 2)
    trained.save(tmp_path)
    index = json.loads((tmp_path / "horizon_trees.json").read_text())
    del index["max_error"], index["persistence"]
    (tmp_path / "horizon_trees.json").write_text(json.dumps(index))
    again.load(tmp_path)
    assert np.isfinite(again.predict(late.inputs)).all()


def test_one_wrong_newest_value_has_limited_effect_on_a_forecast(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    truth = intraday_frame.assign(tso=intraday_frame["actuals"], tso_newest=intraday_frame["load_newest"] * 1.01)
    early, late = _early_and_late(quick, layout, truth)
    trained, _ = _trained(layout, {**params, "direct_share": 1.0}, early, late)
    right = trained.predict(late.inputs)
    late.inputs.values[:, :, layout.column["load_newest"]] *= 0.6
    assert np.abs(trained.predict(late.inputs) / right - 1).max() < 0.15
