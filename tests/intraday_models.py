"""Small intraday models in a real model registry: valid models with different intervals, and a broken model."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dualcast.adapters.model_registry import Run
from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from models.intervals.conformal import ConformalIntervals
from models.prediction.model import ForecastModel
from models.training.publishing import publish_model
from tests.histories import as_update, history
from tests.unit.models.conftest import _records, gold_of, small, trained

NAME = "model_id_de_load"
_HISTORY = "2022-01-01", 40


def stream_rows(use_case: UseCase, entity: Entity) -> list[FeatureRow]:
    """Return the feature rows of a short history, computed by the streaming code."""
    plan = IntradayPlan(use_case, entity)
    parts, _ = IntradayState(plan).apply(as_update(use_case, plan, history(use_case, entity, *_HISTORY)))
    return [row for part in parts for row in _records(use_case, entity, part)]


def train_small_model(use_case: UseCase, entity: Entity, rows: list[FeatureRow]) -> ForecastModel:
    """Train a small model on feature rows."""
    gold = gold_of(use_case, rows[800::3], history(use_case, entity, *_HISTORY))
    return trained(small(use_case), "intraday", gold, "actuals")


def with_scaled_intervals(model: ForecastModel, factor: float) -> ForecastModel:
    """The same model with intervals that tell it from others."""
    return _with_offsets(model, model.intervals._offsets * factor)


def broken_copy(model: ForecastModel) -> ForecastModel:
    """The same model with the intervals of one horizon fewer: it cannot predict."""
    return _with_offsets(model, model.intervals._offsets[:-1])


def _with_offsets(model: ForecastModel, offsets: Floats) -> ForecastModel:
    return replace(model, intervals=ConformalIntervals(model.levels, model.intervals.slots_per_day, offsets))


def publish_champion(settings: Settings, model: ForecastModel) -> str:
    """Publish a model as the champion and return its version."""
    example = pd.DataFrame({"entity_id": ["DE"]})
    run = Run("tests", "a run", {}, {}, {}, example, example)
    return publish_model(settings, NAME, run, model)
