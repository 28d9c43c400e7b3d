"""A forecast model as a folder of plain files, and as an MLflow pyfunc.

The folder holds JSON, NumPy arrays and LightGBM's text; loading it runs no stored code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dualcast.catalogue import Entity
from models.forecasters.registry import make_forecaster
from models.inputs import Layout
from models.intervals.conformal import ConformalIntervals
from models.prediction.model import ForecastModel

_FORECASTER = "forecaster"
_INTERVALS = "intervals.npz"
_METADATA = "model.json"


def save_model(model: ForecastModel, folder: Path) -> None:
    """Write a model into a folder, which must not exist yet."""
    (folder / _FORECASTER).mkdir(parents=True)
    metadata = {
        "layout": model.layout.model_dump(mode="json"),
        "entities": [e.model_dump(mode="json") for e in model.entities],
        "name": model.name,
        "params": model.params,
        "known": model.known,
        "feature_set": model.feature_set,
    }
    (folder / _METADATA).write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    model.intervals.save(folder / _INTERVALS)
    model.forecaster.save(folder / _FORECASTER)


def load_model(folder: Path) -> ForecastModel:
    """Read what ``save_model`` wrote."""
    metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    layout = Layout.model_validate(metadata["layout"])
    forecaster = make_forecaster(metadata["name"], layout, metadata["params"])
    forecaster.load(folder / _FORECASTER)
    return ForecastModel(
        layout=layout,
        entities=tuple(Entity.model_validate(e) for e in metadata["entities"]),
        name=metadata["name"],
        params=metadata["params"],
        forecaster=forecaster,
        intervals=ConformalIntervals.load(folder / _INTERVALS),
        known=tuple(metadata["known"]),
        feature_set=metadata["feature_set"],
    )


@dataclass(frozen=True)
class PyfuncModel:
    """The interface that MLflow expects of a python model."""

    model: ForecastModel

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Quantile columns for rows of features: see ``ForecastModel.predict``. ``params`` is not used."""
        del params
        return self.model.predict(model_input)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load a model for MLflow, which calls this with the folder that was logged."""
    return PyfuncModel(load_model(Path(path)))
