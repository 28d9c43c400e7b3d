"""Scoring in id-svc: batches, named models, what-if requests, input ages, and the prediction log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from services.access.call import Call, begin
from services.access.identity import Identity
from services.api.lookup import find, visible_entities
from services.id_svc.scoring.batching import Batcher
from services.id_svc.scoring.forecaster import ForecastRequest, ForecastResult
from services.id_svc.scoring.prediction_log import PredictionLog
from tests import services_world as world
from tests.unit.services.fake_id_svc import FakeIdService, fake_id_service, filled_id_service, row_at


@pytest.fixture
def id_service() -> FakeIdService:
    return filled_id_service()


def test_several_entities_are_scored_together_and_one_bad_row_does_not_affect_the_others() -> None:
    use_case = world.catalogue()["de_load"]
    more = tuple(use_case.entities[0].model_copy(update={"id": f"E{i}"}) for i in range(3))
    id_service = fake_id_service({"de_load": use_case.model_copy(update={"entities": (*use_case.entities, *more)})})
    body = id_service.client.get("/api/v1/forecasts/intraday").json()
    assert [f["entity_id"] for f in body["forecasts"]] == ["DE", "E0", "E1", "E2"]
    assert (id_service.features.reads, id_service.scored) == (1, [4])
    id_service.features.poisoned = {"E1"}
    body = id_service.client.get("/api/v1/forecasts/intraday", params={"entity_id": ["E0", "E1", "XX"]}).json()
    assert [f["entity_id"] for f in body["forecasts"]] == ["E0"]
    assert [(p["status"], p["instance"][-2:]) for p in body["problems"]] == [(404, "XX"), (503, "E1")]


def test_equal_concurrent_requests_are_scored_once(id_service: FakeIdService) -> None:
    use_case = world.catalogue()["de_load"]
    entity = use_case.entities[0]
    asks = [ForecastRequest(use_case, entity) for _ in range(5)] + [
        ForecastRequest(use_case, entity, features={"load_newest": [7.0]})
    ]
    answers = id_service.forecaster.on_request(asks)
    assert (id_service.features.reads, id_service.scored) == (1, [2])
    assert all(isinstance(answer, ForecastResult) for answer in answers)
    assert [answer is answers[0] for answer in answers] == [True] * 5 + [False]


def test_requests_of_callers_with_different_grants_are_scored_together() -> None:
    use_case = world.catalogue()["de_load"]
    more = use_case.entities[0].model_copy(update={"id": "E0"})
    id_service = fake_id_service({"de_load": use_case.model_copy(update={"entities": (*use_case.entities, more)})})

    def asked(entity_id: str) -> ForecastRequest:
        begin(Call(world.NOW, Identity.of(f"reader of {entity_id}", "reader", [f"de_load/{entity_id}"])))
        found, entity = find(id_service.app.state.deps, None, entity_id, "intraday")
        assert visible_entities(found) == [entity]
        return ForecastRequest(found, entity)

    asks = [copy_context().run(asked, entity_id) for entity_id in ("DE", "E0")]
    answers = id_service.forecaster.on_request(asks)
    assert [isinstance(answer, ForecastResult) and answer.fallback for answer in answers] == [None, None]


def test_input_ages_are_returned_and_overdue_inputs_are_listed(id_service: FakeIdService) -> None:
    ages = {i["variable"]: i["age_seconds"] for i in id_service.ask()["inputs"]}
    assert ages["load"] == 300
    assert ages["load_forecast_tso"] < 0
    late = world.frozen(world.NOW + timedelta(days=2))
    id_service.forecaster._clock = late
    id_service.features.row = row_at(late.now())
    body = id_service.ask()
    assert (body["fallback"], body["degraded"]) == (None, True)
    assert body["degraded_reasons"] == ["stale_input:load_forecast_tso"]


def test_a_what_if_uses_the_given_features_and_is_degraded(id_service: FakeIdService) -> None:
    asked = {"entity_id": "DE", "features": {"load_newest": 7.0, "tso": [None] * 24}, "horizon": "PT1H"}
    body = id_service.client.post("/api/v1/predict", json=asked).json()
    assert len(body["points"]) == 4
    assert body["degraded_reasons"] == ["overridden:load_newest", "overridden:tso"]
    assert id_service.seen[-1]["load_newest"] == [7.0]
    assert len(id_service.seen[-1]["tso"]) == 24
    for wrong in ({"nothing": 1}, {"tso": [1, 2]}, {"load_newest": "much"}):
        assert id_service.client.post("/api/v1/predict", json=asked | {"features": wrong}).status_code == 422


def test_a_named_model_is_used_without_fallbacks(id_service: FakeIdService) -> None:
    def ask(model: str) -> dict[str, Any]:
        answer = id_service.client.post("/api/v1/predict", json={"entity_id": "DE", "model_version": model})
        body: dict[str, Any] = answer.json() | {"code": answer.status_code}
        return body

    old = ask("previous")
    assert (old["model"]["version"], old["fallback"], old["degraded"]) == ("1", None, False)
    assert ask("1")["model"]["version"] == "1"
    assert ask("challenger")["code"] == 404
    id_service.models.held["champion"].works = False
    assert ask("champion")["code"] == 503


def test_a_day_beyond_the_curve_is_not_found(id_service: FakeIdService) -> None:
    asked = {"requests": [{"entity_id": "DE", "forecast_date": day} for day in ("2022-05-03", "2022-05-09")]}
    today, later = id_service.client.post("/api/v1/predict/batch", json=asked).json()["results"]
    assert len(today["forecast"]["points"]) == 23
    assert later["problem"]["status"] == 404


def test_a_scored_curve_is_logged_once_with_its_features(tmp_path: Path, id_service: FakeIdService) -> None:
    log = PredictionLog(world.settings(world.frozen(), lake=str(tmp_path)))
    id_service.forecaster._log = log
    made = id_service.ask()
    id_service.ask()
    id_service.client.post("/api/v1/predict", json={"entity_id": "DE", "features": {"load_newest": 7}})
    log.flush()
    rows = pq.read_table(tmp_path / "predictions/use_case=de_load/issue_date=2022-05-03").to_pylist()
    assert [json.loads(r["features"]) for r in rows] == [{"load_newest": [1.0]}, {"load_newest": [7.0]}]
    assert rows[0]["values"] == [list(p["quantiles"].values()) for p in made["points"]]
    assert rows[0]["model_version"] == "2"


def test_waiting_requests_are_batched_and_each_gets_its_own_results() -> None:
    batches: list[list[int]] = []

    def work(asked: Sequence[int]) -> list[int]:
        batches.append(list(asked))
        return [10 * number for number in asked]

    async def ask_all() -> list[Sequence[int]]:
        batcher = Batcher(work)
        return await asyncio.gather(*(batcher.submit([i, i + 100]) for i in range(5)))

    assert asyncio.run(ask_all()) == [[10 * i, 10 * (i + 100)] for i in range(5)]
    assert batches == [[0, 100, 1, 101, 2, 102, 3, 103, 4, 104]]
