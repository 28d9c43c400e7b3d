"""id-svc with fakes in memory for everything that it needs from outside; each can be made unavailable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.records import FeatureRow
from dualcast.timegrid import Clock
from services.api.schemas.curves import IntradayForecast
from services.book.curves import CurveCache
from services.book.series import SeriesCache
from services.id_svc.app import build_app
from services.id_svc.deps import IntradayDeps
from services.id_svc.scoring.forecaster import IntradayForecaster
from services.id_svc.scoring.freshness import InputAges
from services.id_svc.scoring.model_cache import ModelCache
from tests import services_world as world

INTRADAY = "/api/v1/forecasts/intraday/DE"


@dataclass
class FakeModel:
    name: str
    version: str
    works: bool = True


@dataclass
class FakeModels:
    """A registry in memory: alias -> model. A model that is None cannot be loaded."""

    held: dict[str, FakeModel] = field(default_factory=dict)
    unavailable: bool = False
    broken: set[str] = field(default_factory=set)
    on_disk: dict[str, FakeModel] = field(default_factory=dict)
    loads: int = 0

    def version(self, name: str, alias: str) -> str | None:
        if self.unavailable:
            raise ConnectionError("no registry")
        return self.held[alias].version if alias in self.held else None

    def load(self, name: str, alias: str) -> FakeModel:
        self.loads += 1
        if self.held[alias].version in self.broken:
            raise RuntimeError("cannot be read")
        return self.held[alias]

    def last(self, name: str, alias: str) -> FakeModel:
        return self.on_disk[alias]


@dataclass
class FakeFeatures:
    """A feature store in memory."""

    row: FeatureRow | None
    unavailable: bool = False
    poisoned: set[str] = field(default_factory=set)
    reads: int = 0

    def read(self, entity_ids: Sequence[str]) -> Mapping[str, FeatureRow | None]:
        self.reads += 1
        if self.unavailable:
            raise ConnectionError("no store")
        return {entity_id: self._row_of(entity_id) for entity_id in entity_ids}

    def _row_of(self, entity_id: str) -> FeatureRow | None:
        if self.row is None:
            return None
        features = self.row.features | ({"poison": [1.0]} if entity_id in self.poisoned else {})
        return replace(self.row, entity_id=entity_id, features=features)


def row_at(moment: datetime) -> FeatureRow:
    return FeatureRow("de_load", "DE", moment, moment, "abc", {"load_newest": [1.0]})


def score(
    model: Any, use_case: UseCase, rows: Sequence[FeatureRow], issued_at: Sequence[datetime]
) -> list[Forecast | Exception]:
    for row in rows:
        use_case.entity(row.entity_id)  # as the real model does, which finds entities by their use case
    return [curve(model, row, moment) for row, moment in zip(rows, issued_at, strict=True)]


def curve(model: Any, row: FeatureRow, issued_at: datetime) -> Forecast | Exception:
    if not model.works or "poison" in row.features:
        raise ValueError("shape mismatch")
    made = world.intraday(row.valid_time, model_name=model.name, model_version=model.version)
    points = [p for p in made.points if p.valid_time >= issued_at]
    if not points:
        return ValueError("the features are too old")
    return replace(
        made, entity_id=row.entity_id, issued_at=issued_at, newest_input_at=row.as_of, points=points, simulated=False
    )


def prove(model: Any, use_case: UseCase) -> None:
    if not model.works:
        raise ValueError("shape mismatch")


@dataclass
class FakeIdService:
    """id-svc and the fakes that it depends on."""

    models: FakeModels
    features: FakeFeatures
    curves: CurveCache
    series: SeriesCache
    model_cache: ModelCache
    forecaster: IntradayForecaster
    app: FastAPI
    scored: list[int]
    seen: list[dict[str, list[float]]]

    @property
    def client(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)

    def ask(self) -> dict[str, Any]:
        answer = self.client.get(INTRADAY)
        assert answer.status_code == 200, answer.text
        IntradayForecast.model_validate_json(answer.content)
        body: dict[str, Any] = answer.json()
        return body


def fake_id_service(known: Mapping[str, UseCase], clock: Clock | None = None) -> FakeIdService:
    clock = clock or world.frozen(world.NOW + timedelta(minutes=5))
    curves, series = CurveCache(known), SeriesCache(known, clock)
    models = FakeModels(
        {"champion": FakeModel("model_id_de_load", "2"), "previous": FakeModel("model_id_de_load", "1")}
    )
    features = FakeFeatures(row_at(world.NOW))
    model_cache = ModelCache(models, known, prove)
    model_cache.refresh()
    ages = InputAges(known, series)
    scored: list[int] = []
    seen: list[dict[str, list[float]]] = []

    def noted(
        model: Any, use_case: UseCase, rows: Sequence[FeatureRow], issued_at: Sequence[datetime]
    ) -> list[Forecast | Exception]:
        scored.append(len(rows))
        seen.extend(row.features for row in rows)
        return score(model, use_case, rows, issued_at)

    forecaster = IntradayForecaster({"de_load": features}, model_cache, noted, curves, series, clock, ages)
    deps = IntradayDeps(world.settings(clock), known, curves, series, forecaster=forecaster, model_cache=model_cache)
    return FakeIdService(models, features, curves, series, model_cache, forecaster, build_app(deps), scored, seen)


def filled_id_service() -> FakeIdService:
    """All dependencies available, with a day of history and the day-ahead curves of today and tomorrow."""
    found = fake_id_service(world.catalogue())
    found.series.add([world.message(world.observations(world.NOW - timedelta(days=1), world.NOW))])
    for day in (date(2022, 5, 3), date(2022, 5, 4)):
        found.curves.add(world.day_ahead(day))
    return found
