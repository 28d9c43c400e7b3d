"""Registration of a trained model."""

from __future__ import annotations

from functools import partial

from dualcast.adapters.model_registry import Run, publish
from dualcast.settings import Settings
from models.prediction import packaging
from models.prediction.model import ForecastModel


def publish_model(settings: Settings, name: str, run: Run, model: ForecastModel) -> str:
    """Register a model under a name as champion; return its version. Raises RegistryUnavailableError."""
    return publish(settings, name, run, partial(packaging.save_model, model), packaging.__name__)
