"""Ridges, boosted trees and nets for every horizon: what each opinion counts, and what a wrong one costs."""

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
    return {**params, "lone_share": 1.0, "nets": NETS}


def _early_and_late(quick: UseCase, layout: Layout, frame: pd.DataFrame) -> tuple[Examples, Examples]:
    """What is learned from, and what is judged by."""
    examples = Examples.of(layout, quick, frame.iloc[:-100], "actuals")
    return examples.take(slice(None, 1500)), examples.take(slice(1600, None))


def _learned(layout: Layout, params: Params, early: Examples, late: Examples) -> tuple[HorizonTrees, Weights]:
    learned = HorizonTrees(layout, params)
    learned.fit(early.inputs, early.target, 2)
    return learned, learned.weigh(late.inputs, late.target)


def _come_back(
    learned: HorizonTrees, layout: Layout, params: Params, inputs: ModelInputs, folder: Path
) -> HorizonTrees:
    """The forecaster that was saved and loaded, which says the same."""
    learned.save(folder)
    again = HorizonTrees(layout, params)
    again.load(folder)
    np.testing.assert_array_equal(again.predict(inputs), learned.predict(inputs))
    return again


def _without_others(layout: Layout, inputs: ModelInputs, rows: slice = slice(None)) -> None:
    """Take the forecast of others away."""
    inputs.values[rows, :, layout.columns(layout.readers[layout.reference or ""])] = np.nan


def test_a_forecast_of_others_counts_as_much_as_it_is_worth(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    truth = intraday_frame.assign(tso=intraday_frame["actuals"])
    weights = {}
    for name, frame in (("good", truth), ("poor", intraday_frame)):
        _, weights[name] = _learned(layout, params, *_early_and_late(quick, layout, frame))
    for step in range(1, 25):
        good, poor = (weights[name][f"all_{step:02d}"] for name in ("good", "poor"))
        assert good + weights["good"][f"own_{step:02d}"] == pytest.approx(1)
        assert good > max(0.7, poor)


def test_a_forecast_of_others_that_was_long_away_is_corrected_when_it_is_back(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    _without_others(layout, early.inputs, slice(1000, None))
    learned = HorizonTrees(layout, params)
    learned.fit(early.inputs, early.target, 2)
    back = np.nanmean(np.abs(learned.predict(late.inputs) - late.target))
    _without_others(layout, late.inputs)
    assert back < np.nanmean(np.abs(learned.predict(late.inputs) - late.target))


def test_lone_trees_are_a_second_opinion_and_the_only_one_where_the_rest_is_unknown(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    said = []
    for share in (0.0, 1.0):
        chosen = {**params, "lone_share": share}
        learned, weights = _learned(layout, chosen, early, late)
        assert (max(weights[f"lone_{step:02d}"] for step in range(1, 25)) > 0.05) == (share > 0)
        again = _come_back(learned, layout, chosen, late.inputs, tmp_path)
        said.append(again.predict(late.inputs))
    assert np.abs(said[1] - said[0]).max() > 0.001
    newest = late.inputs.values[:, :, layout.column["load_newest"]].copy()
    others = [i for n, i in layout.column.items() if n.startswith("load_") and n != "load_newest"]
    late.inputs.values[:, :, others] = np.nan
    alone = again.predict(late.inputs)
    assert np.isfinite(alone).all()
    errors = [np.nanmean(np.abs(point - late.target)[:, -1]) for point in (alone, newest)]
    assert errors[0] < errors[1]


def test_nets_are_a_third_opinion(
    quick: UseCase, layout: Layout, with_nets: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    learned, weights = _learned(layout, with_nets, early, late)
    assert max(weights[f"nets_{step:02d}"] for step in range(1, 25)) > 0.1
    again = _come_back(learned, layout, with_nets, late.inputs, tmp_path)
    _without_others(layout, late.inputs)
    assert np.isfinite(again.predict(late.inputs)).all()


def test_nets_with_too_little_to_learn_from_say_nothing(
    quick: UseCase, layout: Layout, with_nets: Params, intraday_frame: pd.DataFrame
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    starved, without = (
        _learned(layout, {**with_nets, "nets": nets}, early, late)[0].predict(late.inputs)
        for nets in ({**with_nets["nets"], "batch": 2000}, None)
    )
    np.testing.assert_array_equal(starved, without)


def test_a_model_from_before_surprises_were_learned_is_read(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame, tmp_path: Path
) -> None:
    early, late = _early_and_late(quick, layout, intraday_frame)
    learned, again = (HorizonTrees(layout, params) for _ in range(2))
    learned.fit(early.inputs, early.target, 2)
    learned.save(tmp_path)
    index = json.loads((tmp_path / "horizon_trees.json").read_text())
    del index["furthest"], index["lasting"]
    (tmp_path / "horizon_trees.json").write_text(json.dumps(index))
    again.load(tmp_path)
    assert np.isfinite(again.predict(late.inputs)).all()


def test_one_wrong_newest_value_does_not_decide_a_forecast(
    quick: UseCase, layout: Layout, params: Params, intraday_frame: pd.DataFrame
) -> None:
    truth = intraday_frame.assign(tso=intraday_frame["actuals"], tso_newest=intraday_frame["load_newest"] * 1.01)
    early, late = _early_and_late(quick, layout, truth)
    learned, _ = _learned(layout, {**params, "lone_share": 1.0}, early, late)
    right = learned.predict(late.inputs)
    late.inputs.values[:, :, layout.column["load_newest"]] *= 0.6
    assert np.abs(learned.predict(late.inputs) / right - 1).max() < 0.15
