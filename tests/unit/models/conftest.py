"""Small models, trained once on a short history."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, ForecasterSpec, Path_, ReplayMapping, UseCase
from dualcast.features.as_of import day_ahead_features
from dualcast.features.intraday.plan import IntradayPlan, feature_set
from dualcast.features.intraday.state import IntradayState, Rows
from dualcast.features.plan import FeaturePlan
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.observations.actuals import target_values
from dualcast.records import FeatureRow
from dualcast.timegrid import from_micros
from models.inputs import Layout
from models.prediction.model import ForecastModel
from models.training.fitting import Examples, fit_model
from tests.histories import as_update, history

FEW = {"rounds": 20, "learning_rate": 0.3, "num_leaves": 7, "min_data_in_leaf": 20}
FIRST_DAY = date(2022, 1, 20)


def small(use_case: UseCase) -> UseCase:
    """The same use case with forecasters that are trained fast."""
    blend = ForecasterSpec(name="blend", params={"trees": FEW, "residual_trees": FEW})
    trees = ForecasterSpec(name="horizon_trees", params={"trees": FEW, "direct_trees": FEW, "tree_rows": 20000})
    return use_case.model_copy(
        update={
            "day_ahead": use_case.day_ahead.model_copy(update={"forecaster": blend}),
            "intraday": use_case.part("intraday").model_copy(update={"forecaster": trees}),
        }
    )


@pytest.fixture(scope="session")
def quick(use_case: UseCase) -> UseCase:
    return small(use_case)


@pytest.fixture(scope="session")
def observations(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-01-01", 90)


@pytest.fixture(scope="session")
def day_ahead_frame(use_case: UseCase, entity: Entity, observations: pd.DataFrame) -> pd.DataFrame:
    """Rows in the format of Gold."""
    return day_ahead_gold(use_case, entity, observations, FIRST_DAY, 68)


@pytest.fixture(scope="session")
def stream_rows(use_case: UseCase, entity: Entity, observations: pd.DataFrame) -> list[FeatureRow]:
    """The rows made by the streaming code, in order."""
    plan = IntradayPlan(use_case, entity)
    rows, _ = IntradayState(plan).apply(as_update(use_case, plan, observations))
    return [row for part in rows for row in _records(use_case, entity, part)]


@pytest.fixture(scope="session")
def intraday_frame(use_case: UseCase, stream_rows: list[FeatureRow], observations: pd.DataFrame) -> pd.DataFrame:
    """Every third of these rows from the ninth day on, in the format of Gold."""
    return gold_of(use_case, stream_rows[800::3], observations)


@pytest.fixture(scope="session")
def day_ahead_model(quick: UseCase, day_ahead_frame: pd.DataFrame) -> RegisteredModel:
    return registered(trained(quick, "day-ahead", day_ahead_frame, "actual"), "model_da")


@pytest.fixture(scope="session")
def intraday_model(quick: UseCase, intraday_frame: pd.DataFrame) -> RegisteredModel:
    return registered(trained(quick, "intraday", intraday_frame, "actuals"), "model_id")


def trained(use_case: UseCase, path: Path_, frame: pd.DataFrame, target: str) -> ForecastModel:
    layout = Layout.of(use_case, path)
    return fit_model(use_case, path, layout, Examples.of(layout, use_case, frame, target), threads=2).model


def registered(model: ForecastModel, name: str) -> RegisteredModel:
    return RegisteredModel(name, "7", "champion", "run", model)


def day_ahead_gold(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, first: date, days: int
) -> pd.DataFrame:
    frame = day_ahead_features(use_case, entity, observations, [first + timedelta(days=i) for i in range(days)])
    actual = target_values(use_case, observations, use_case.day_ahead.resolution)
    return frame.assign(actual=actual.reindex(frame["valid_time"]).to_numpy(), event_timestamp=frame["cutoff"])


def gold_of(use_case: UseCase, rows: list[FeatureRow], observations: pd.DataFrame) -> pd.DataFrame:
    plan = FeaturePlan.of(use_case, "intraday")
    actual = target_values(use_case, observations, use_case.part("intraday").resolution)
    starts = pd.DatetimeIndex([r.valid_time for r in rows])
    steps = [starts + k * use_case.part("intraday").resolution for k in range(use_case.part("intraday").horizons)]
    columns = {
        n: [r.features[n][0] if n in plan.per_origin else np.array(r.features[n]) for r in rows] for n in plan.names
    }
    return pd.DataFrame(
        {
            "entity_id": [r.entity_id for r in rows],
            "valid_time": starts.as_unit("us"),
            "event_timestamp": pd.DatetimeIndex([r.as_of for r in rows]).as_unit("us"),
            **columns,
            "actuals": list(np.stack([actual.reindex(t).to_numpy() for t in steps], axis=1)),
        }
    )


def _records(use_case: UseCase, entity: Entity, rows: Rows) -> list[FeatureRow]:
    step = int(use_case.part("intraday").resolution.total_seconds()) * 1_000_000
    features = feature_set(use_case)
    columns = {name: values.tolist() for name, values in rows.features.items()}
    return [
        FeatureRow(
            use_case.use_case,
            entity.id,
            from_micros(int(rows.origin[i]) * step),
            from_micros(int(rows.as_of[i])),
            features,
            {name: cells[i] for name, cells in columns.items()},
        )
        for i in range(len(rows))
    ]


MAPPING = ReplayMapping(
    shape="long", published_column="published_at", resolution=pd.Timedelta("15min").to_pytimedelta()
)


@pytest.fixture(scope="module")
def case(quick: UseCase) -> UseCase:
    """The quick use case, trained on a few weeks and read from long files with every vintage."""
    day_ahead = quick.day_ahead.model_copy(update={"training_days": 50})
    intraday = quick.part("intraday").model_copy(update={"training_days": 14})
    return quick.model_copy(update={"replay": MAPPING, "day_ahead": day_ahead, "intraday": intraday})


@pytest.fixture(scope="module")
def known(observations: pd.DataFrame) -> pd.DataFrame:
    """The observations of load and reference, without weather."""
    return observations[observations["variable"].isin(["load", "load_forecast_tso"])]


def written(folder: Path, observations: pd.DataFrame) -> Path:
    file = folder / "data.parquet"
    observations[["variable", "valid_time", "published_at", "value"]].to_parquet(file)
    return file


def ignore_progress(step: str, done: int, total: int) -> None:
    """Ignore progress."""
