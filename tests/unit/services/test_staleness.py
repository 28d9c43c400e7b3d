"""A curve is stale when a newer one is overdue: by one rule, in every answer of both services."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from dualcast.curves.staleness import is_stale
from dualcast.timegrid import Clock
from services.api.schemas.curves import DayAheadForecast, IntradayForecast
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import services_world as world
from tests.served import next_event, served
from tests.unit.services.fake_id_svc import filled_id_service

INTRADAY, DAY_AHEAD = "/api/v1/forecasts/intraday", "/api/v1/forecasts/day-ahead"
HOURS_4 = timedelta(hours=4)


def deps_at(age: timedelta) -> DayAheadDeps:
    """da-svc whose newest intraday curve was issued ``age`` ago."""
    deps = world.da_deps(world.frozen(world.NOW + age))
    deps.curves.add(world.intraday(world.NOW))
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    return deps


def client_at(age: timedelta) -> TestClient:
    return TestClient(build_app(deps_at(age)))


@pytest.mark.parametrize(("minutes", "stale"), [(0, False), (60, False), (74, False), (77, True), (240, True)])
def test_an_intraday_curve_is_stale_when_the_next_one_is_overdue_by_more_than_the_catalogue_permits(
    minutes: int, stale: bool
) -> None:
    use_case = world.catalogue()["de_load"]
    clock = world.frozen(world.NOW + timedelta(minutes=minutes))
    assert use_case.part("intraday").max_feature_age == timedelta(hours=1)
    assert is_stale(use_case, use_case.entities[0], clock, "intraday", world.NOW) == stale


def test_in_a_replay_a_curve_has_a_minute_of_wall_time() -> None:
    use_case, until = world.catalogue()["de_load"], world.NOW + timedelta(hours=30)
    begun = datetime.now(UTC) - timedelta(hours=1)
    fast, slow = (Clock(start=world.NOW, epoch=begun, until=until, speed=speed) for speed in (3600, 60))
    assert fast.now() == slow.now() == until
    assert not is_stale(use_case, use_case.entities[0], fast, "intraday", world.NOW)
    assert is_stale(use_case, use_case.entities[0], slow, "intraday", world.NOW)


def test_an_intraday_curve_four_hours_old_is_degraded_and_stale_in_every_answer() -> None:
    client = client_at(HOURS_4)
    one = client.get(f"{INTRADAY}/DE")
    IntradayForecast.model_validate_json(one.content)
    assert one.headers["cache-control"] == "private, max-age=1"
    (listed,) = client.get(INTRADAY).json()["forecasts"]
    state = client.get("/api/v1/status").json()["entities"][0]["intraday"]
    for body in (one.json(), client.get(f"{INTRADAY}/DE").json(), listed, state):
        assert (body["degraded"], body["stale"], body["fallback"]) == (True, True, "last_stored")
        assert body["degraded_reasons"] == ["stale_curve", "fallback: last_stored"]
    then = client.get(f"{INTRADAY}/DE", params={"as_of": world.NOW.isoformat()}).json()
    assert (then["degraded"], then["stale"], then["fallback"]) == (False, False, None)


def test_a_cached_answer_becomes_stale_and_its_etag_changes() -> None:
    deps = deps_at(timedelta(0))
    client = TestClient(build_app(deps))
    fresh = client.get(f"{INTRADAY}/DE")
    assert (fresh.json()["stale"], fresh.json()["degraded"]) == (False, False)
    later = world.frozen(world.NOW + HOURS_4)
    deps.settings = deps.settings.model_copy(update={"clock": later})
    deps.answers._clock = later
    old = client.get(f"{INTRADAY}/DE", headers={"If-None-Match": fresh.headers["etag"]})
    assert (old.status_code, old.json()["stale"]) == (200, True)
    assert len(old.json()["points"]) == len(fresh.json()["points"])


def test_a_stale_day_ahead_curve_is_degraded_too() -> None:
    client = client_at(timedelta(days=3))
    body = client.get(f"{DAY_AHEAD}/DE").json()
    DayAheadForecast.model_validate(body)
    assert (body["degraded"], body["stale"], body["fallback"]) == (True, True, "last_stored")
    assert "stale_curve" in body["degraded_reasons"]
    asked = client.get(f"{DAY_AHEAD}/DE", params={"delivery_date": "2022-05-04"}).json()
    assert (asked["degraded"], asked["stale"]) == (False, False)
    predicted: dict[str, Any] = client.post("/api/v1/predict", json={"entity_id": "DE"}).json()
    assert predicted["degraded"]


@pytest.fixture
def address() -> Iterator[str]:
    with served(build_app(deps_at(HOURS_4))) as url:
        yield url


def test_a_stream_that_begins_with_an_old_curve_says_so(address: str) -> None:
    with httpx2.stream("GET", f"{address}/api/v1/events", timeout=10) as stream:
        _, body = next_event(stream.iter_lines())
    assert (body["degraded"], body["stale"], body["fallback"]) == (True, True, "last_stored")


def test_id_svc_reports_stale_published_curves_and_returns_its_own_as_current() -> None:
    service = filled_id_service()
    assert service.ask()["stale"] is False
    status = service.client.get("/api/v1/status").json()
    assert [entity["stale"] for entity in status["entities"]] == [False]
    service.curves.add(world.intraday(world.NOW - HOURS_4))
    status = service.client.get("/api/v1/status").json()
    assert [entity["stale"] for entity in status["entities"]] == [True]
