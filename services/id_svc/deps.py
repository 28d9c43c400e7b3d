"""The parts that id-svc is built from, and the dependency that passes them to a route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from services.api.deps import ServiceDeps, service_deps
from services.id_svc.publisher import Publisher
from services.id_svc.scoring.batching import Batcher
from services.id_svc.scoring.forecaster import IntradayForecaster
from services.id_svc.scoring.model_cache import ModelCache
from services.id_svc.scoring.shifted_day_ahead import can_shift


@dataclass(kw_only=True)
class IntradayDeps(ServiceDeps):
    """The parts of id-svc."""

    forecaster: IntradayForecaster
    model_cache: ModelCache
    publisher: Publisher | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scoring = Batcher(self.forecaster.on_request)

    def can_forecast(self) -> tuple[bool, list[str]]:
        """Whether a model is loaded or a day-ahead curve can be shifted."""
        models = self.model_cache.loaded()
        return bool(models) or self._can_shift(), [] if models else ["no model is loaded"]

    def _can_shift(self) -> bool:
        now = self.clock.now()
        mine = [use_case for use_case in self.catalogue.values() if use_case.intraday is not None]
        return any(can_shift(self.curves, use_case, entity, now) for use_case in mine for entity in use_case.entities)


Deps = Annotated[IntradayDeps, Depends(service_deps)]
