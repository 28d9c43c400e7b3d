"""Common parts of both paths: a model's quantiles become a Forecast, or the reason why not is given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue import Path_, UseCase, path_identifier
from dualcast.curves.fallbacks import PREVIOUS_VERSION, fallback_reason
from dualcast.curves.forecast import Forecast, Point
from dualcast.lifecycle.registered_model import PREVIOUS, RegisteredModel
from dualcast.timegrid import iso_duration
from models.prediction.code_version import code_version
from models.prediction.model import ForecastModel

MISSING = "missing:"
MISSING_QUANTILE = "missing_quantile:"


class NoPredictionError(ValueError):
    """The model cannot predict: the level of the series is unknown, or every target has begun."""


@dataclass(frozen=True)
class Curve:
    """What differs between curves of one model; quantiles are (points, levels)."""

    entity_id: str
    issued_at: datetime
    newest_input_at: datetime
    data_version: str
    reasons: Sequence[str]
    times: list[datetime]
    quantiles: Floats
    simulated: bool

    def forecast(self, model: RegisteredModel, use_case: UseCase, path: Path_) -> Forecast:
        """The curve with its provenance. Raises NoPredictionError where a quantile is unknown."""
        if not np.isfinite(self.quantiles).all():
            raise no_level(model, self.entity_id)
        reasons = distinct(self.reasons)
        return Forecast(
            use_case=use_case.use_case,
            path=path_identifier(path),
            entity_id=self.entity_id,
            issued_at=self.issued_at,
            target=use_case.target,
            unit=use_case.unit,
            resolution=iso_duration(use_case.part(path).resolution),
            model_name=model.name,
            model_version=model.version,
            code_version=code_version(),
            data_version=self.data_version,
            newest_input_at=self.newest_input_at,
            degraded=bool(reasons),
            degraded_reasons=reasons,
            quantile_levels=list(raw_model(model).levels),
            points=[Point(t, v) for t, v in zip(self.times, self.quantiles.tolist(), strict=True)],
            simulated=self.simulated,
        )


def raw_model(model: RegisteredModel) -> ForecastModel:
    """The forecast model of a registered model."""
    return cast("ForecastModel", model.raw)


def bounded(use_case: UseCase, quantiles: Floats) -> Floats:
    """Quantiles clipped to the bounds of the target."""
    bounds = use_case.variables[use_case.target].bounds
    return np.clip(quantiles, bounds.min, bounds.max) if (bounds.min, bounds.max) != (None, None) else quantiles


def version_reasons(model: RegisteredModel, use_case: UseCase, path: Path_) -> list[str]:
    """Why every curve of this version is degraded: it is a fallback, or lacks quantiles that the catalogue has."""
    fallback = [fallback_reason(PREVIOUS_VERSION)] if model.alias == PREVIOUS else []
    return [*fallback, *missing_quantiles(use_case, path, raw_model(model).levels)]


def missing_quantiles(use_case: UseCase, path: Path_, levels: Collection[float]) -> list[str]:
    """A reason for each quantile level of the catalogue that some levels lack, such as ``missing_quantile:0.05``."""
    return [f"{MISSING_QUANTILE}{level:g}" for level in use_case.part(path).quantiles if level not in levels]


def no_level(model: RegisteredModel, entity_id: str) -> NoPredictionError:
    """The error to raise where the level of an entity's series is unknown."""
    return NoPredictionError(f"{model.name} {model.version} cannot forecast {entity_id}: its level is unknown")


def distinct(reasons: Iterable[str]) -> list[str]:
    """Reasons in order, each once."""
    return list(dict.fromkeys(reasons))
