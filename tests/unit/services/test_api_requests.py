"""Requests that both services handle alike: several entities, as of a moment, by horizon, in every format."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from dualcast.timegrid import Clock
from services.api.schemas.curves import DayAheadForecasts, IssuedForecasts
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import services_world as world

DAY_AHEAD, INTRADAY = "/api/v1/forecasts/day-ahead", "/api/v1/forecasts/intraday"
NEWER = datetime(2022, 5, 3, 10, 30, tzinfo=UTC)


@pytest.fixture
def deps() -> DayAheadDeps:
    return world.filled_da_deps()


@pytest.fixture
def client(deps: DayAheadDeps) -> TestClient:
    return TestClient(build_app(deps), raise_server_exceptions=False)


def test_several_entities_are_returned_and_an_unknown_one_is_a_problem_in_the_list(client: TestClient) -> None:
    answer = client.get(DAY_AHEAD, params={"entity_id": ["DE", "XX"]})
    found = DayAheadForecasts.model_validate_json(answer.content)
    alone = client.get(f"{DAY_AHEAD}/DE").json()
    assert answer.json()["forecasts"] == [alone]
    assert [(p.status, p.instance) for p in found.problems] == [(404, f"{DAY_AHEAD}/XX")]


def test_cursors_lead_through_all_pages(client: TestClient) -> None:
    first = client.get(DAY_AHEAD, params={"entity_id": ["DE", "XX", "YY"], "limit": 2})
    assert [len(first.json()[k]) for k in ("forecasts", "problems")] == [1, 1]
    assert first.json()["next_cursor"] == "XX"
    last = client.get(first.links["next"]["url"]).json()
    assert (last["forecasts"], last["problems"][0]["instance"], last["next_cursor"]) == ([], f"{DAY_AHEAD}/YY", None)
    assert client.get(DAY_AHEAD, params={"cursor": "nowhere"}).status_code == 422


def test_as_of_selects_the_newest_curve_at_that_moment(client: TestClient, deps: DayAheadDeps) -> None:
    day = date(2022, 5, 4)
    deps.curves.add(replace(world.day_ahead(day), issued_at=NEWER))
    asked = {"delivery_date": "2022-05-04"}
    before = client.get(f"{DAY_AHEAD}/DE", params=asked | {"as_of": "2022-05-03T10:00:00Z"}).json()
    assert (before["issued_at"], client.get(f"{DAY_AHEAD}/DE", params=asked).json()["issued_at"]) == (
        "2022-05-03T09:00:00Z",
        "2022-05-03T10:30:00Z",
    )
    earlier = client.get(f"{DAY_AHEAD}/DE", params={"as_of": "2022-05-02T10:00:00Z"}).json()
    assert earlier["delivery_date"] == "2022-05-03"
    assert client.get(f"{DAY_AHEAD}/DE", params={"as_of": "2021-01-01T00:00:00Z"}).status_code == 404


def test_intraday_as_of_selects_the_curve_published_by_then(client: TestClient) -> None:
    body = client.get(f"{INTRADAY}/DE", params={"as_of": "2022-05-02T10:20:00Z"}).json()
    made = world.intraday(datetime(2022, 5, 2, 10, 15, tzinfo=UTC))
    assert body["issued_at"] == "2022-05-02T10:15:00Z"
    assert [list(p["quantiles"].values()) for p in body["points"]] == [p.values for p in made.points]


def test_a_horizon_shortens_a_curve_and_include_confidence_false_returns_the_median(client: TestClient) -> None:
    whole = client.get(f"{DAY_AHEAD}/DE").json()["points"]
    body = client.get(f"{DAY_AHEAD}/DE", params={"horizon": "PT3H", "include_confidence": False}).json()
    assert body["points"] == [
        {"valid_time": p["valid_time"], "quantiles": {"0.5": p["quantiles"]["0.5"]}} for p in whole[:3]
    ]
    for wrong in ("PT30M", "3 hours", "P"):
        assert client.get(f"{DAY_AHEAD}/DE", params={"horizon": wrong}).status_code == 422


@pytest.mark.parametrize("address", [f"{DAY_AHEAD}/DE", DAY_AHEAD, f"{DAY_AHEAD}/DE/issued"])
def test_parquet_and_csv_contain_the_numbers_of_json(client: TestClient, address: str) -> None:
    body = client.get(address).json()
    curves: list[dict[str, Any]] = body.get("forecasts", [body])
    medians = [p["quantiles"]["0.5"] for curve in curves for p in curve["points"]]
    parquet = client.get(address, headers={"Accept": "application/vnd.apache.parquet, text/csv;q=0.1"})
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table["q50"].to_pylist() == medians
    assert table["valid_time"].to_pylist()[0] == datetime.fromisoformat(curves[0]["points"][0]["valid_time"])
    lines = client.get(address, params={"format": "csv"}).text.splitlines()
    assert [float(line.split(",")[4]) for line in lines[1:]] == medians


def test_issued_curves_are_returned_with_actuals(client: TestClient) -> None:
    asked: dict[str, Any] = {"from": "2022-05-03T10:00:00Z", "to": "2022-05-03T13:00:00Z", "limit": 5}
    pages, cursor = [], None
    while True:
        page = client.get(f"{INTRADAY}/DE/issued", params=asked | ({"cursor": cursor} if cursor else {}))
        pages.append(IssuedForecasts.model_validate_json(page.content))
        cursor = pages[-1].next_cursor
        if cursor is None:
            break
    curves = [curve for page in pages for curve in page.forecasts]
    # curves issued in the six hours before 10:00 reach 10:00; others were issued in the two hours until 12:00
    assert [c.issued_at for c in curves] == [
        datetime(2022, 5, 3, 4, 15, tzinfo=UTC) + k * timedelta(minutes=15) for k in range(32)
    ]
    points = [(p.valid_time, p.actual) for curve in curves for p in curve.points]
    assert {t.hour for t, _ in points} == {10, 11, 12}
    assert all(actual == (world.true_load(t) if t < world.NOW else None) for t, actual in points)


def test_cache_control_lasts_until_the_next_curve(deps: DayAheadDeps) -> None:
    before_noon = world.frozen(datetime(2022, 5, 3, 8, 0, tzinfo=UTC))
    early = world.da_deps(before_noon.model_copy(update={"until": None, "epoch": datetime.now(UTC)}))
    early.curves.add(world.day_ahead(date(2022, 5, 3)))
    answer = TestClient(build_app(early)).get(f"{DAY_AHEAD}/DE")
    # the next cutoff is at 09:00 UTC
    seconds = int(answer.headers["cache-control"].removeprefix("private, max-age="))
    assert 3500 < seconds <= 3600


def test_an_unchanged_answer_returns_304(client: TestClient, deps: DayAheadDeps) -> None:
    etag = client.get(f"{DAY_AHEAD}/DE").headers["etag"]
    same = client.get(f"{DAY_AHEAD}/DE", headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert client.get(f"{DAY_AHEAD}/DE?format=csv", headers={"If-None-Match": etag}).status_code == 200
    assert client.get(f"{DAY_AHEAD}/DE?horizon=PT2H", headers={"If-None-Match": etag}).status_code == 200
    deps.curves.add(replace(world.day_ahead(date(2022, 5, 4)), issued_at=NEWER))
    assert client.get(f"{DAY_AHEAD}/DE", headers={"If-None-Match": etag}).status_code == 200


def test_a_cached_answer_has_its_current_age_and_is_replaced_by_a_new_curve() -> None:
    clock = Clock(start=datetime(2022, 5, 3, 8, 0, tzinfo=UTC), epoch=datetime.now(UTC), speed=1000)
    deps = world.da_deps(clock)
    deps.curves.add(world.day_ahead(date(2022, 5, 3)))
    client = TestClient(build_app(deps))
    first, second = (client.get(f"{DAY_AHEAD}/DE") for _ in range(2))
    assert second.json()["input_age_seconds"] > first.json()["input_age_seconds"]
    assert second.json() | {"input_age_seconds": 0} == first.json() | {"input_age_seconds": 0}
    assert client.get(f"{DAY_AHEAD}/DE", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert client.get(f"{DAY_AHEAD}/DE", headers={"Accept": "text/csv"}).text.startswith("entity_id")
    deps.curves.add(replace(world.day_ahead(date(2022, 5, 3)), model_version="2"))
    assert client.get(f"{DAY_AHEAD}/DE").json()["model"]["version"] == "2"


def test_predict_of_da_svc_returns_a_day_only_for_the_version_that_made_it(client: TestClient) -> None:
    asked = {"entity_id": "DE", "forecast_date": "2022-05-04", "horizon": "PT2H", "model_version": "1"}
    body = client.post("/api/v1/predict", json=asked).json()
    assert (body["delivery_date"], len(body["points"])) == ("2022-05-04", 2)
    results = client.post(
        "/api/v1/predict/batch",
        json={"requests": [asked, asked | {"model_version": "9"}, asked | {"features": {"load": 1}}, asked]},
    ).json()["results"]
    assert [r.get("problem", {}).get("status") for r in results] == [None, 404, 422, None]
    assert results[0] == {"forecast": body}


def test_new_curves_are_sent_to_websockets(deps: DayAheadDeps) -> None:
    with TestClient(build_app(deps)) as client, client.websocket_connect("/api/v1/ws?entity_id=DE") as socket:
        assert socket.receive_json()["issued_at"] == "2022-05-03T12:00:00Z"
        deps.curves.add(world.day_ahead(date(2022, 5, 5)))
        deps.curves.add(world.intraday(world.NOW + timedelta(minutes=15)))
        newest = socket.receive_json()
        assert (newest["path"], newest["issued_at"]) == ("intraday", "2022-05-03T12:15:00Z")


def test_a_websocket_for_an_unknown_entity_is_closed(client: TestClient) -> None:
    with client.websocket_connect("/api/v1/ws?entity_id=XX") as socket:
        message = socket.receive()
        assert (message["type"], message["code"]) == ("websocket.close", 4404)
