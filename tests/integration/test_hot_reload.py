"""A new champion in a real MLflow replaces the old one while id-svc serves; a broken one does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import numpy as np
import pytest

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.catalogue import Entity, UseCase
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from dualcast.timegrid import floor
from models.prediction.intraday import intraday_forecast
from models.prediction.model import ForecastModel
from services.id_svc.app import build_app
from services.id_svc.main import dependencies
from tests.intraday_models import (
    NAME,
    broken_copy,
    publish_champion,
    stream_rows,
    train_small_model,
    with_scaled_intervals,
)

pytestmark = [
    pytest.mark.stack,
    # MLflow's own imports and models raise deprecation warnings
    pytest.mark.filterwarnings("ignore"),
]
SECONDS_TO_TAKE_OVER = 10.0
ASKERS = 4


@pytest.fixture(scope="module")
def rows(use_case: UseCase, entity: Entity) -> list[FeatureRow]:
    return stream_rows(use_case, entity)


@pytest.fixture(scope="module")
def model(use_case: UseCase, entity: Entity, rows: list[FeatureRow]) -> ForecastModel:
    return train_small_model(use_case, entity, rows)


@asynccontextmanager
async def id_svc_under_load(settings: Settings) -> AsyncIterator[tuple[httpx2.AsyncClient, list[dict[str, Any]]]]:
    """Run id-svc with its real adapters and clients that send requests without pause; yield their responses."""
    app = build_app(dependencies(settings))
    answers: list[dict[str, Any]] = []
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://id-svc", timeout=30) as client:

            async def ask() -> None:
                while True:
                    answer = await client.get("/api/v1/forecasts/intraday/DE")
                    answers.append(answer.json() | {"code": answer.status_code})
                    await asyncio.sleep(0.01)

            await until(lambda: model_of(client, "champion"))
            askers = [asyncio.create_task(ask()) for _ in range(ASKERS)]
            yield client, answers
            for task in askers:
                task.cancel()
            await asyncio.gather(*askers, return_exceptions=True)


async def model_of(client: httpx2.AsyncClient, alias: str) -> str | None:
    status = (await client.get("/api/v1/status")).json()
    return next((m["version"] for m in status["models"] if m["alias"] == alias), None)


async def until(ready: Callable[[], Any], wanted: str | None = None) -> None:
    deadline = time.monotonic() + SECONDS_TO_TAKE_OVER
    while True:
        found = await ready()
        if found is not None and wanted in (None, found):
            return
        assert time.monotonic() < deadline, f"waited in vain for {wanted}, found {found}"
        await asyncio.sleep(0.05)


def test_a_new_champion_replaces_the_old_one_without_failed_requests_and_a_broken_one_is_refused(
    stack: Settings, use_case: UseCase, model: ForecastModel, rows: list[FeatureRow]
) -> None:
    now = datetime.now(UTC)
    row = replace(rows[-1], valid_time=floor(now, use_case.part("intraday").resolution), as_of=now)
    OnlineFeatures(stack, "de_load").write([row])
    wider = with_scaled_intervals(model, 2.0)
    first = publish_champion(stack, model)

    async def replace_champion() -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
        async with id_svc_under_load(stack) as (client, answers):
            second = await asyncio.to_thread(publish_champion, stack, wider)
            await until(lambda: model_of(client, "champion"), second)
            await until(lambda: model_of(client, "previous"), first)
            broken = broken_copy(model)
            third = await asyncio.to_thread(publish_champion, stack, broken)

            async def refused() -> str | None:
                found = (await client.get("/api/v1/status")).json()["refused"]
                return next((r["version"] for r in found if r["alias"] == "champion"), None)

            await until(refused, third)
            count = len(answers)
            await asyncio.sleep(0.5)
            assert len(answers) > count
            return list(answers), [first, second], (await client.get("/health/ready")).json()

    answers, (old, new), health = asyncio.run(replace_champion())
    assert health["ready"]
    assert {a["code"] for a in answers} == {200}
    assert {a["fallback"] for a in answers} == {None}
    versions = [a["model"]["version"] for a in answers]
    switch = versions.index(new)
    # requests that were in progress during the change may end after the first one of the new model
    assert set(versions[: max(switch - ASKERS, 1)]) == {old}
    assert set(versions[switch + ASKERS :]) == {new}
    for version, made in ((old, model), (new, wider)):
        registered = RegisteredModel(NAME, version, "champion", "run", made)
        answer = next(a for a in answers if a["model"]["version"] == version)
        issued_at = datetime.fromisoformat(answer["issued_at"])
        expected = intraday_forecast(registered, use_case, row, issued_at)
        numbers = [list(p["quantiles"].values()) for p in answer["points"]]
        np.testing.assert_allclose(numbers, [p.values for p in expected.points])
