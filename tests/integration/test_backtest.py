"""A backtest with real servers: Spark makes the same rows, MLflow gets the report, SIGKILL loses no complete fold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from batch.engine.session import spark_session
from batch.runs.backtest_rows import SparkRows
from dualcast.catalogue import Entity, Path_, UseCase, load_use_case, read_document
from dualcast.settings import Settings
from models.backtest.history import FileHistory, read_history
from models.backtest.request import BacktestRequest
from models.backtest.rows import RowMaker, one_by_one
from models.backtest.run import log_to_mlflow, run_backtest
from models.evaluation.files import read_forecasts
from tests.conftest import ROOT
from tests.histories import history
from tests.waiting import until

pytestmark = pytest.mark.stack("mlflow")

FEW = {"rounds": 20, "learning_rate": 0.3, "num_leaves": 7, "min_data_in_leaf": 20}


@pytest.fixture(scope="module")
def spark(stack: Settings) -> Iterator[SparkSession]:
    session = spark_session(stack)
    yield session
    session.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a use case of two entities whose forecaster is trained fast, and a file with their data."""
    place = tmp_path_factory.mktemp("backtest")
    text = read_document(ROOT / "use_cases" / "de_load.yaml")
    text["entities"].append(text["entities"][0] | {"id": "PT", "time_zone": "Europe/Lisbon"})
    text["day_ahead"]["forecaster"]["params"] = {"trees": FEW, "residual_trees": FEW}
    text["replay"] = {"shape": "long", "entity_column": "entity_id", "resolution": "PT15M"}
    (place / "two_zones.yaml").write_text(yaml.safe_dump(text | {"use_case": "two_zones"}), encoding="utf-8")
    case = load_use_case("two_zones", place)
    parts = [of_entity(case, entity, seed) for seed, entity in enumerate(case.entities)]
    pd.concat(parts).to_parquet(place / "data.parquet")
    return place


def of_entity(case: UseCase, entity: Entity, seed: int) -> pd.DataFrame:
    variables = {name: case.variables[name] for name in ("load", "load_forecast_tso")}
    rows = history(case.model_copy(update={"variables": variables}), entity, "2022-01-01", 60, seed)
    return rows[["variable", "valid_time", "value"]].assign(entity_id=entity.id)


@pytest.fixture(scope="module")
def case(folder: Path) -> UseCase:
    return load_use_case("two_zones", folder)


@pytest.fixture(scope="module")
def found(folder: Path, case: UseCase) -> FileHistory:
    return read_history(folder / "data.parquet", case)


@pytest.mark.parametrize("path", ["day-ahead", "intraday"])
def test_rows_computed_by_spark_equal_those_computed_locally(
    spark: SparkSession, case: UseCase, found: FileHistory, path: Path_
) -> None:
    days = tuple(date(2022, 2, 10) + timedelta(days=i) for i in range(5))
    maker = RowMaker(case, path, days)
    observations = found.on_grid if path == "day-ahead" else found.arrivals
    plain, cluster = one_by_one(maker, observations), SparkRows(spark)(maker, observations)
    assert plain["entity_id"].unique().tolist() == ["DE", "PT"]
    assert len(plain) == 2 * 5 * (24 if path == "day-ahead" else 96)
    assert sorted(cluster) == sorted(plain)
    for name in plain:
        ours, theirs = (np.stack(frame[name].to_numpy()) for frame in (plain, cluster))
        np.testing.assert_array_equal(theirs, ours, err_msg=str(name))


def test_scores_and_report_are_logged_to_mlflow(stack: Settings, case: UseCase, folder: Path, tmp_path: Path) -> None:
    question = BacktestRequest(case, "day-ahead", date(2022, 2, 20), date(2022, 2, 24), "P3M")
    out, report = tmp_path / "out.parquet", tmp_path / "out.html"
    done = run_backtest(
        question, folder / "data.parquet", out, report, lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda *_: None
    )
    assert log_to_mlflow(stack, question, done, report)
    client = MlflowClient(stack.mlflow)
    experiment = client.get_experiment_by_name(stack.names.experiment("two_zones"))
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name LIKE '%2022-02-20 to 2022-02-24'")
    assert run.data.metrics["mape"] == pytest.approx(done.summary.overall.mape, abs=1e-4)
    assert run.data.params["data"] == done.facts["data"]
    (artifact,) = client.list_artifacts(run.info.run_id)
    read_back = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{artifact.path}")
    assert read_back == report.read_text(encoding="utf-8")


def command(folder: Path, out: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("dualcast"))
    window = ["--from", "2022-02-12", "--to", "2022-02-27", "--refit", "P2D"]
    return [program, "backtest", "two_zones", "--data", str(folder / "data.parquet"), *window, "--out", str(out)]


def test_a_killed_backtest_resumes(
    stack: Settings, case: UseCase, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALCAST_USE_CASES", str(folder))
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    subprocess.run(command(folder, whole), check=True, timeout=300, capture_output=True)
    running = subprocess.Popen(command(folder, killed), stderr=subprocess.DEVNULL)
    until(killed.exists, 120, every=0.01)
    running.kill()
    running.wait(30)
    half = read_forecasts([killed], case, "day-ahead")
    assert 0 < half["model_version"].nunique() < 8
    subprocess.run(command(folder, killed), check=True, timeout=300, capture_output=True)
    pd.testing.assert_frame_equal(
        read_forecasts([killed], case, "day-ahead"), read_forecasts([whole], case, "day-ahead")
    )
