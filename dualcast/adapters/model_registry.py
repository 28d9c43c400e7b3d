"""The model registry (MLflow): publish a trained model as champion, and load one by its alias.

A model is a folder of files and the name of the module that reads them back (MLflow's pyfunc loader): nothing is
pickled, and nothing is read before it was checked (``model_files``). A version never changes, so a downloaded one is
kept on disk and loaded from there the next time.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from requests import RequestException

from dualcast.adapters.model_files import CHECKSUM_TAG, checksum, trusted_parts
from dualcast.lifecycle.registered_model import CHAMPION, PREVIOUS, Alias, Predictor, RegisteredModel
from dualcast.settings import Settings

# MLflow is configured by its environment: give up in time, and leave stdout to the commands.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
# MLflow's error codes of a missing model or alias.
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# What a model's environment needs; the versions are those of the platform's lock.
_REQUIREMENTS = ["dualcast[models]"]


class RegistryUnavailableError(ConnectionError):
    """The registry does not answer now; asking again later may help."""


class UnknownModelError(LookupError):
    """The registry has no such model. The message names the command that trains one."""


@dataclass(frozen=True)
class Run:
    """What is recorded of a training run beside the model."""

    experiment: str
    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    input_example: pd.DataFrame
    output_example: pd.DataFrame


def publish(
    settings: Settings, name: str, run: Run, save: Callable[[Path], None], loader_module: str, alias: Alias = CHAMPION
) -> str:
    """Log a run with its model, register it under ``name`` and give it an alias; return the version.

    ``save`` writes the model into a folder that does not exist yet. ``loader_module`` reads it back: it has
    ``load_model(folder)`` for the platform and ``_load_pyfunc(path)`` for MLflow. The version that was champion becomes
    ``previous``. Raises RegistryUnavailableError.
    """
    client, registered = _client(settings), settings.names.model(name)
    with TemporaryDirectory() as scratch, _registry_errors(settings):
        folder = Path(scratch) / "model"
        save(folder)
        mlflow.set_experiment(settings.names.experiment(run.experiment))
        with mlflow.start_run(run_name=run.name, tags=dict(run.tags)):
            mlflow.log_params(dict(run.params))
            mlflow.log_metrics(dict(run.metrics))
            logged = mlflow.pyfunc.log_model(
                name="model",
                loader_module=loader_module,
                data_path=str(folder),
                signature=infer_signature(run.input_example, run.output_example),
                input_example=run.input_example,
                pip_requirements=_REQUIREMENTS,
                registered_model_name=registered,
            )
        version = str(logged.registered_model_version)
        client.set_model_version_tag(registered, version, CHECKSUM_TAG, checksum(folder))
        promote(client, registered, version, alias)
    return version


def record(
    settings: Settings,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    files: Sequence[Path],
) -> None:
    """Log a run that makes no model, such as a backtest, with its files. Raises RegistryUnavailableError."""
    _client(settings)
    with _registry_errors(settings):
        mlflow.set_experiment(settings.names.experiment(experiment))
        with mlflow.start_run(run_name=name):
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            for file in files:
                mlflow.log_artifact(str(file))


def promote(client: MlflowClient, name: str, version: str, alias: Alias) -> None:
    """Give a version an alias; a champion that it replaces becomes ``previous``."""
    old = _version(client, name, alias) if alias == CHAMPION else None
    if old is not None and old.version != version:
        client.set_registered_model_alias(name, PREVIOUS, old.version)
    client.set_registered_model_alias(name, alias, version)


def current_version(settings: Settings, name: str, alias: Alias = CHAMPION) -> str | None:
    """The version behind an alias now, or None: cheap, to find out whether a newer one must be loaded.

    Raises RegistryUnavailableError.
    """
    with _registry_errors(settings):
        found = _version(_client(settings), settings.names.model(name), alias)
    return None if found is None else str(found.version)


def load(settings: Settings, name: str, alias: Alias = CHAMPION) -> RegisteredModel:
    """The model behind an alias. Raises UnknownModelError, UntrustedModelError, RegistryUnavailableError."""
    with _registry_errors(settings):
        found = _version(_client(settings), settings.names.model(name), alias)
        if found is None:
            raise UnknownModelError(f"there is no {alias} of {name}; train one with `dualcast train`")
        folder = _downloaded(settings, name, found)
    registered = found.tags.get(CHECKSUM_TAG, "")
    model = _read(name, alias, folder, registered)
    _last(settings, name, alias).write_text(f"{folder.name} {registered}", encoding="utf-8")
    return model


def load_last(settings: Settings, name: str, alias: Alias) -> RegisteredModel:
    """The model that this machine loaded last by an alias, without the registry.

    Raises UnknownModelError, UntrustedModelError.
    """
    last = _last(settings, name, alias)
    if not last.exists():
        raise UnknownModelError(f"no {alias} of {name} was ever loaded here")
    folder, _, registered = last.read_text(encoding="utf-8").partition(" ")
    return _read(name, alias, last.parent / folder, registered)


def _client(settings: Settings) -> MlflowClient:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(settings.mlflow)
    return MlflowClient(settings.mlflow)


def _version(client: MlflowClient, name: str, alias: Alias) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def _downloaded(settings: Settings, name: str, version: ModelVersion) -> Path:
    """The folder of a version on this machine; downloaded at the first call, whole or not at all."""
    folder = _models(settings, name) / f"{version.version}-{version.run_id}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{version.name}/{version.version}", dst_path=scratch, tracking_uri=settings.mlflow
            )
            with suppress(OSError):  # another process was faster; its copy is the same
                shutil.move(found, folder)
    return folder


def _models(settings: Settings, name: str) -> Path:
    return settings.state_dir / "models" / settings.names.model(name)


def _last(settings: Settings, name: str, alias: Alias) -> Path:
    """The file that names the folder of the version that was loaded last."""
    return _models(settings, name) / f"last-{alias}"


def _read(name: str, alias: Alias, folder: Path, registered: str) -> RegisteredModel:
    """What ``mlflow.pyfunc.load_model`` does, without its comparison of environments, which takes seconds.

    ``registered`` is the checksum of the files. Raises UnknownModelError, UntrustedModelError.
    """
    version, _, run_id = folder.name.partition("-")
    if not registered:
        raise UnknownModelError(f"{name} {version} was stored by an older dualcast, train it again")
    flavour = Model.load(str(folder)).flavors.get(mlflow.pyfunc.FLAVOR_NAME, {})
    module, data = trusted_parts(folder, flavour, registered)
    try:
        raw = cast("Predictor", importlib.import_module(module).load_model(data))
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnknownModelError(f"{name} {version} was stored by an older dualcast, train it again: {error}") from error
    return RegisteredModel(name, version, alias, run_id, raw)


@contextmanager
def _registry_errors(settings: Settings) -> Iterator[None]:
    """MLflow's and HTTP's failures as RegistryUnavailableError."""
    try:
        yield
    except (MlflowException, RequestException) as error:
        raise RegistryUnavailableError(f"MLflow at {settings.mlflow}: {error}") from error
