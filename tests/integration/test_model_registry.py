"""Models in a real MLflow: published, promoted, found by alias, kept on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from dualcast.adapters.model_files import CHECKSUM_TAG, UntrustedModelError
from dualcast.adapters.model_registry import (
    RegistryUnavailableError,
    Run,
    UnknownModelError,
    current_version,
    load,
    load_last,
)
from dualcast.catalogue import Entity, UseCase
from dualcast.settings import Settings
from models.prediction.model import ForecastModel
from models.training.publishing import publish_model
from tests.histories import history
from tests.unit.models.conftest import FIRST_DAY, day_ahead_gold, small, trained

pytestmark = [
    pytest.mark.stack("mlflow"),
    # MLflow's own imports and models raise deprecation warnings
    pytest.mark.filterwarnings("ignore"),
]
NAME = "model_da_registry_test"


@pytest.fixture(scope="module")
def gold(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return day_ahead_gold(use_case, entity, history(use_case, entity, "2022-01-01", 60), FIRST_DAY, 38)


@pytest.fixture(scope="module")
def model(use_case: UseCase, gold: pd.DataFrame) -> ForecastModel:
    return trained(small(use_case), "day-ahead", gold, "actual")


def _publish(settings: Settings, model: ForecastModel, gold: pd.DataFrame) -> str:
    example = gold[["entity_id", "valid_time", *model.features]].tail(3)
    run = Run(
        experiment="registry_test",
        name="a run",
        params={"forecaster": model.name},
        metrics={"mape": 2.5},
        tags={"data_version": "v1"},
        input_example=example.assign(valid_time=example["valid_time"].dt.tz_convert(None)),
        output_example=model.predict(example),
    )
    return publish_model(settings, NAME, run, model)


def test_a_published_model_becomes_champion_and_the_old_one_previous(
    stack: Settings, model: ForecastModel, gold: pd.DataFrame
) -> None:
    with pytest.raises(UnknownModelError, match="dualcast train"):
        load(stack, NAME)
    first = _publish(stack, model, gold)
    assert current_version(stack, NAME) == first
    assert current_version(stack, NAME, "previous") is None
    second = _publish(stack, model, gold)
    assert (current_version(stack, NAME), current_version(stack, NAME, "previous")) == (second, first)

    loaded = load(stack, NAME)
    assert (loaded.name, loaded.version, loaded.features) == (NAME, second, model.features)
    pd.testing.assert_frame_equal(loaded.predict(gold.tail(24)), model.predict(gold.tail(24)), check_exact=True)

    run = MlflowClient(stack.mlflow).get_run(loaded.run_id)
    assert run.data.metrics["mape"] == 2.5
    assert run.data.tags["data_version"] == "v1"


def test_a_version_is_downloaded_once_and_completely(stack: Settings, model: ForecastModel, gold: pd.DataFrame) -> None:
    version = _publish(stack, model, gold)
    load(stack, NAME)
    kept = list((stack.state_dir / "models" / stack.names.model(NAME)).iterdir())
    assert [f for f in kept if f.name.startswith(f"{version}-")]
    assert not [f for f in kept if f.name.startswith(".")]
    assert np.isfinite(load(stack, NAME).predict(gold.tail(24))["q50"]).all()


def test_mlflow_can_load_and_serve_the_model(stack: Settings, model: ForecastModel, gold: pd.DataFrame) -> None:
    import mlflow  # noqa: PLC0415 -- only here

    _publish(stack, model, gold)
    mlflow.set_tracking_uri(stack.mlflow)
    served = mlflow.pyfunc.load_model(f"models:/{stack.names.model(NAME)}@champion")
    rows = gold[["entity_id", "valid_time", *model.features]].tail(24)
    answer = served.predict(rows.assign(valid_time=rows["valid_time"].dt.tz_convert(None)))
    np.testing.assert_allclose(answer["q50"], model.predict(rows)["q50"])


def test_an_unavailable_registry_raises_a_connection_error(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = stack.model_copy(update={"mlflow": "http://127.0.0.1:9", "state_dir": tmp_path})
    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:9"):
        load(away, NAME)


def _copy_on_disk(settings: Settings) -> Path:
    """The folder of the champion on this machine."""
    return settings.state_dir / "models" / settings.names.model(NAME) / _last_line(settings)


def _last_line(settings: Settings) -> str:
    file = settings.state_dir / "models" / settings.names.model(NAME) / "last-champion"
    return file.read_text(encoding="utf-8").partition(" ")[0]


def _set_flavour(folder: Path, name: str, value: str) -> None:
    description = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    description["flavors"]["python_function"][name] = value
    (folder / "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")


def _change_a_file(folder: Path) -> None:
    with (folder / "data" / "model" / "model.json").open("a", encoding="utf-8") as file:
        file.write(" ")


def _add_a_file(folder: Path) -> None:
    (folder / "data" / "model" / "more.txt").write_text("more")


def _link_a_file(folder: Path) -> None:
    file = folder / "data" / "model" / "model.json"
    file.replace(folder / "elsewhere.json")
    file.symlink_to(folder / "elsewhere.json")


def _point_outside(folder: Path) -> None:
    shutil.copytree(folder / "data" / "model", folder.parent / "outside", dirs_exist_ok=True)
    _set_flavour(folder, "data", "../outside")


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda folder: _set_flavour(folder, "loader_module", "mlflow.pyfunc.model"), "no loader of ours"),
        (lambda folder: _set_flavour(folder, "loader_module", "os"), "no loader of ours"),
        (_point_outside, "outside of the model's folder"),
        (lambda folder: _set_flavour(folder, "data", "/etc"), "outside of the model's folder"),
        (_change_a_file, "have changed"),
        (_add_a_file, "have changed"),
        (_link_a_file, "is a link"),
    ],
)
def test_a_tampered_model_is_refused_before_anything_of_it_is_used(
    stack: Settings, model: ForecastModel, gold: pd.DataFrame, tamper: Callable[[Path], None], reason: str
) -> None:
    if current_version(stack, NAME) is None:
        _publish(stack, model, gold)
    load(stack, NAME)
    folder = _copy_on_disk(stack)
    tamper(folder)
    try:
        with pytest.raises(UntrustedModelError, match=reason):
            load(stack, NAME)
        with pytest.raises(UntrustedModelError, match=reason):
            load_last(stack, NAME, "champion")
    finally:
        shutil.rmtree(folder)
    assert load(stack, NAME).features == model.features, "it is downloaded again"


def test_a_model_that_was_changed_in_the_artifact_store_is_refused(
    stack: Settings, model: ForecastModel, gold: pd.DataFrame, tmp_path: Path
) -> None:
    version = _publish(stack, model, gold)
    client = MlflowClient(stack.mlflow)
    client.set_model_version_tag(stack.names.model(NAME), version, CHECKSUM_TAG, "0" * 64)
    fresh = stack.model_copy(update={"state_dir": tmp_path})
    with pytest.raises(UntrustedModelError, match="have changed"):
        load(fresh, NAME)
    client.delete_model_version_tag(stack.names.model(NAME), version, CHECKSUM_TAG)
    with pytest.raises(UnknownModelError, match="train it again"):
        load(fresh, NAME)
