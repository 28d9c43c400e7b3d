"""Hostile requests on a real socket: the ends of the calendar, and WebSockets that send what they should not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from services.da_svc.app import build_app
from tests import services_world as world
from tests.served import served
from tests.unit.services.fake_id_svc import filled_id_service

PROBLEM = "application/problem+json"
MOMENTS = ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "0001-01-01T00:00:00Z"]
DAYS = ["0001-01-01", "9999-12-31"]


@pytest.fixture(scope="module")
def da_svc() -> Iterator[str]:
    deps = world.filled_da_deps()
    with served(build_app(deps)) as url:
        yield url


@pytest.fixture(scope="module")
def id_svc() -> Iterator[str]:
    with served(filled_id_service().app) as url:
        yield url


@pytest.mark.parametrize("service", ["da_svc", "id_svc"])
def test_the_ends_of_the_calendar_are_refused_on_every_route_with_a_time(
    service: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(service)
    paths = httpx2.get(f"{address}/openapi.json").json()["paths"]
    asked = [
        f"{path.replace('{entity_id}', 'DE').replace('{path}', 'day-ahead')}?{parameter['name']}={text}"
        for path, operations in paths.items()
        for parameter in operations.get("get", {}).get("parameters", [])
        for text in {"as_of": MOMENTS, "from": MOMENTS, "to": MOMENTS, "delivery_date": DAYS}.get(parameter["name"], [])
    ]
    assert len(asked) >= 16
    answers = {url: httpx2.get(f"{address}{url}") for url in asked}
    wrong = {url: answer.status_code for url, answer in answers.items() if answer.status_code != 422}
    assert wrong == {}
    assert {answer.headers["content-type"] for answer in answers.values()} == {PROBLEM}


@pytest.mark.parametrize(
    ("start", "end"),
    [("1980-01-01T00:00:00%2B14:00", "1980-01-02T00:00:00Z"), ("2199-12-31T00:00:00Z", "2199-12-31T23:59:59-14:00")],
)
def test_the_earliest_and_latest_times_are_answered(da_svc: str, start: str, end: str) -> None:
    window, path = f"from={start}&to={end}", "/api/v1/forecasts/intraday/DE"
    asked = [f"/api/v1/history/DE?{window}", f"{path}/issued?{window}", f"{path}?as_of={start}", f"{path}?as_of={end}"]
    days = [f"/api/v1/forecasts/day-ahead/DE?delivery_date={start[:10]}", f"/api/v1/forecasts/day-ahead/DE?as_of={end}"]
    assert {httpx2.get(f"{da_svc}{url}").status_code for url in asked + days} <= {200, 404}


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("service", ["da_svc", "id_svc"])
def test_the_ends_of_the_calendar_are_refused_in_predict(
    service: str, day: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(service)
    answer = httpx2.post(f"{address}/api/v1/predict", json={"entity_id": "DE", "forecast_date": day})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


def test_a_repeated_unexpected_error_is_logged_in_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("two\nlines")

    deps = world.da_deps()
    monkeypatch.setattr(deps.curves, "days", fail)
    with capture_logs() as logs, served(build_app(deps)) as address:
        answers = [httpx2.get(f"{address}/api/v1/forecasts/day-ahead/DE") for _ in range(5)]
        for _ in range(3):
            with suppress(ConnectionClosed), connect(f"{address.replace('http', 'ws')}/api/v1/ws?path=day-ahead") as s:
                s.recv(timeout=10)
    assert {answer.status_code for answer in answers} == {500}
    lines = [log["error"] for log in logs if log["log_level"] == "error"] + [r.message for r in caplog.records]
    assert len(lines) == 1
    assert "RuntimeError" in lines[0]
    assert "\n" not in lines[0]
    assert "Traceback" not in capfd.readouterr().err


def test_a_binary_frame_closes_a_websocket_as_unsupported(da_svc: str) -> None:
    with connect(f"{da_svc.replace('http', 'ws')}/api/v1/ws") as socket:
        socket.recv(timeout=10)
        socket.send(b"\x00")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


def test_a_large_frame_closes_a_websocket(da_svc: str) -> None:
    with connect(f"{da_svc.replace('http', 'ws')}/api/v1/ws") as socket:
        socket.recv(timeout=10)
        socket.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("query", ["path=sideways", "use_case=" + "x" * 100, "&".join(["entity_id=DE"] * 201)])
def test_an_invalid_websocket_query_is_refused_with_a_problem(da_svc: str, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{da_svc.replace('http', 'ws')}/api/v1/ws?{query}"):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert json.loads(response.body)["type"] == "urn:dualcast:problem:invalid-request"
