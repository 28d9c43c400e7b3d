"""Training of one path of a use case: read rows from the feature store, fit, and register the model as champion."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd
import structlog

from dualcast.adapters.feature_store import training_frame
from dualcast.adapters.lake import target_column, training_keys
from dualcast.adapters.model_registry import Run
from dualcast.catalogue import Path_, UseCase
from dualcast.lifecycle.registered_model import model_name
from dualcast.settings import Settings
from dualcast.steps import Steps
from models.inputs import Layout, per_target
from models.prediction.code_version import code_version
from models.training.fitting import Examples, Fitted, TooFewExamplesError, fit_model
from models.training.publishing import publish_model

# The number of rows in the registry's input example.
_EXAMPLE_ROWS = 3
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Trained:
    """A registered model and how it was trained."""

    name: str
    version: str
    fitted: Fitted
    data_version: str
    seconds: dict[str, float]


def train(settings: Settings, use_case: UseCase, path: Path_, until: datetime, steps: Steps) -> Trained:
    """Fit a model on what was known at ``until``, and publish it as champion.

    Raises FileNotFoundError where Gold is empty, TooFewExamplesError, ForecasterError, FeatureStoreError,
    RegistryUnavailableError.
    """
    layout = Layout.of(use_case, path)
    with steps.step("reading") as report:
        keys = known_by(use_case, path, training_keys(settings, use_case.use_case, path), until)
        frame = training_frame(settings, use_case.use_case, path, keys)
        examples = Examples.of(layout, use_case, frame, target_column(path))
        report(f"{len(examples.inputs):,} rows of Gold")
    with steps.step("learning"):
        fitted = fit_model(use_case, path, layout, examples, os.cpu_count() or 1)
    with steps.step("publishing") as report:
        data_version = _fingerprint(keys["data_version"])
        run = _run(use_case, path, until, fitted, frame.tail(_EXAMPLE_ROWS), data_version)
        name = model_name(use_case.use_case, path)
        number = publish_model(settings, name, run, fitted.model)
        report(f"{name} version {number}")
    seconds = {name: round(seconds, 1) for name, seconds in steps.seconds.items()}
    _log.info("trained", name=name, version=number, examples=fitted.examples, **seconds)
    return Trained(name, number, fitted, data_version, seconds)


def known_by(use_case: UseCase, path: Path_, keys: pd.DataFrame, until: datetime) -> pd.DataFrame:
    """The rows of the training window; targets that were published after ``until`` become unknown."""
    part = use_case.part(path)
    horizons = use_case.part("intraday").horizons if path == "intraday" else 1
    newest = pd.Timestamp(until)
    recent = keys["event_timestamp"] > newest - pd.Timedelta(days=part.training_days)
    kept = keys[recent & (keys["event_timestamp"] <= newest)].reset_index(drop=True)
    if kept.empty:
        raise TooFewExamplesError(f"no feature row of {use_case.use_case}, {path}, is from before {until.isoformat()}")
    # a target counts where its interval had ended and its value had been published
    newest_known = np.datetime64(use_case.newest_known(path, until).astimezone(UTC).replace(tzinfo=None), "us")
    first = kept["valid_time"].dt.tz_convert(None).to_numpy(dtype="datetime64[us]")
    starts = first[:, np.newaxis] + np.arange(horizons) * np.timedelta64(part.resolution)
    actual = np.where(starts <= newest_known, per_target(kept[target_column(path)], horizons), np.nan)
    return kept.assign(**{target_column(path): actual[:, 0] if path == "day-ahead" else list(actual)})


def _run(
    use_case: UseCase, path: Path_, until: datetime, fitted: Fitted, example: pd.DataFrame, data_version: str
) -> Run:
    model = fitted.model
    example = example[["entity_id", "valid_time", *model.features]].reset_index(drop=True)
    # MLflow schemas have naive times only; these are UTC
    readable = example.assign(valid_time=example["valid_time"].dt.tz_convert(None))
    return Run(
        experiment=use_case.use_case,
        name=f"{path} until {until:%Y-%m-%d}",
        params={
            "forecaster": model.name,
            "path": path,
            "until": until.isoformat(),
            "examples": fitted.examples,
            "held_out": fitted.held_out,
            "quantiles": list(model.levels),
            "lightgbm": version("lightgbm"),
            **model.params,
        },
        metrics=fitted.metrics,
        tags={
            "use_case": use_case.use_case,
            "data_version": data_version,
            "code_version": code_version(),
            "feature_set": model.feature_set,
            "features": ",".join(model.features),
        },
        input_example=readable,
        output_example=model.predict(example),
    )


def _fingerprint(versions: pd.Series) -> str:
    """The data versions of all rows as one short text; a single version is returned as it is."""
    found = sorted({str(v) for v in versions})
    if len(found) == 1:
        return found[0]
    return f"{len(found)} versions {hashlib.sha256(','.join(found).encode()).hexdigest()[:12]}"
