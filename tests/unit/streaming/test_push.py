"""Responses to senders: a batch is accepted once it is delivered, or refused with its faults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from dualcast.adapters.http_server import BodyLimit
from dualcast.catalogue import load_catalogue
from dualcast.records import ObservationBatch
from streaming.ingest.push.app import LARGEST_BODY, NotDeliveredError, create_app
from streaming.ingest.push.checks import Rules
from tests.served import served

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
KEY = "0123456789abcdef"
ROOT = Path(__file__).parents[3]


class FakeDelivery(list[ObservationBatch]):
    """A delivery that keeps the batches, or fails."""

    fails = False

    def __call__(self, batches: Sequence[ObservationBatch]) -> None:
        if self.fails:
            raise NotDeliveredError("the broker is unavailable")
        self.extend(batches)


@pytest.fixture
def delivered() -> FakeDelivery:
    return FakeDelivery()


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules(load_catalogue(ROOT / "use_cases"))


@pytest.fixture
def client(rules: Rules, delivered: FakeDelivery) -> TestClient:
    app = create_app(rules, delivered, KEY, lambda: NOW)
    return TestClient(BodyLimit(app, LARGEST_BODY), headers={"X-API-Key": KEY})


def load(**changes: Any) -> dict[str, Any]:
    sound = {
        "entity_id": "DE",
        "variable": "load",
        "valid_time": "2024-05-01T12:30:00+02:00",
        "resolution": "PT15M",
        "value": 54321.0,
        "unit": "MW",
    }
    return {name: value for name, value in (sound | changes).items() if value is not ...}


def post(client: TestClient, *observations: Any, **headers: str) -> Any:
    return client.post("/api/v1/observations", json={"observations": list(observations)}, headers=headers)


def test_a_valid_batch_is_delivered(client: TestClient, delivered: FakeDelivery) -> None:
    earlier = load(
        entity_id="ES", valid_time="2024-05-01T09:00:00Z", resolution="PT1H", published_at="2024-05-01T10:05Z"
    )
    answer = post(client, load(), earlier, load(variable="price_day_ahead", unit="EUR/MWh", value=-5.0))
    assert (answer.status_code, answer.json()) == (202, {"observations": 3, "messages": 2})
    assert [(batch.entity_id, len(batch.observations)) for batch in delivered] == [("DE", 2), ("ES", 1)]
    (first, _), (other,) = (batch.observations for batch in delivered)
    assert (first.valid_time, first.published_at, first.source) == (NOW - timedelta(minutes=90), NOW, "push")
    assert other.published_at == datetime(2024, 5, 1, 10, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (load(entity_id="XX"), "entity_id", "unknown_entity"),
        (load(variable="laod"), "observation", "unknown_variable"),
        (load(unit="kW"), "observation", "wrong_unit"),
        (load(resolution="PT7M"), "observation", "bad_resolution"),
        (load(valid_time="2024-05-01T10:31:00Z"), "observation", "off_grid"),
        (load(value=5e9), "observation", "out_of_bounds"),
        (load(valid_time="2024-05-01T12:00:00Z"), "observation", "future_dated"),
        (load(valid_time="0001-01-01T00:00:00Z"), "observation", "bad_time"),
        (load(valid_time="1981-01-01T00:00:00Z"), "observation", "too_old"),
        (load(valid_time="2023-01-01T00:00:00Z", resolution="P366D"), "observation", "interval_too_long"),
        (load(resolution="00:15:00"), "observation", "bad_resolution"),
        (load(resolution="900"), "observation", "bad_resolution"),
        (load(value="52000"), "value", "Input should be a valid number"),
        (load(valid_time=1714559400), "valid_time", "Input should be a time in ISO 8601"),
        (load(valid_time="1714559400"), "valid_time", "Input should be a time in ISO 8601"),
        (load(published_at=1714559400), "published_at", "Input should be a time in ISO 8601"),
        (load(valid_time="2024-05-01T12:30:00"), "valid_time", "Input should have timezone info"),
        (load(value=...), "value", "Field required"),
        (load(value="NaN"), "value", "Input should be a valid number"),
        (load(colour="red"), "colour", "Extra inputs are not permitted"),
        (load(entity_id="W01", variable="orders", unit="MW"), "observation", "wrong_unit"),
    ],
)
def test_an_invalid_observation_is_named_and_the_batch_refused(
    client: TestClient, delivered: FakeDelivery, bad: dict[str, Any], field: str, reason: str
) -> None:
    answer = post(client, load(), bad)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["faults"] == [{"item": 1, "field": field, "reason": reason}]
    assert not delivered


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"observations": [', 400),
        (b"\xff\xfe\x00", 400),
        (b"null", 422),
        (b"[]", 422),
        (b'{"observations": []}', 422),
        (b'{"observations": [1]}', 422),
        (b"[" * 100_000, 400),
        (b" " * (LARGEST_BODY + 1), 413),
        (json.dumps({"observations": [load()] * 10_001}).encode(), 422),
    ],
)
def test_invalid_request_bodies_are_refused(
    client: TestClient, delivered: FakeDelivery, body: bytes, status: int
) -> None:
    answer = client.post("/api/v1/observations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert not delivered


def test_another_type_of_content_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/observations", content=b"a,b", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 415


@pytest.mark.parametrize("key", ["", "0123456789abcdeF", KEY + " x", "ключ".encode().decode("latin-1")])
def test_a_missing_key_is_refused(client: TestClient, delivered: FakeDelivery, key: str) -> None:
    shown = [(b"X-API-Key", key.encode("latin-1"))]
    answer = client.post("/api/v1/observations", json={"observations": [load()]}, headers=shown)
    assert answer.status_code == 401
    assert not delivered


def test_an_undelivered_batch_is_not_accepted(client: TestClient, delivered: FakeDelivery) -> None:
    delivered.fails = True
    answer = post(client, load())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "broker is unavailable" not in answer.text


def test_the_openapi_document_describes_the_body(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/api/v1/observations"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "valid_time" in schema["properties"]["observations"]["items"]["required"]
    assert set(operation["responses"]) == {"202", "400", "401", "413", "415", "422", "503"}


def test_large_headers_and_bodies_are_refused_by_the_server(rules: Rules, delivered: FakeDelivery) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(16):
            yield b" " * 2**20

    json_ = {"X-API-Key": KEY, "Content-Type": "application/json"}
    app = create_app(rules, delivered, KEY, lambda: NOW)
    with served(app, largest_body=LARGEST_BODY) as url, httpx2.Client(base_url=url, headers=json_) as sender:
        refused = [
            sender.post("/api/v1/observations", json={}, headers={"X-Large": "x" * 40_000}),
            sender.post("/api/v1/observations", content=b" " * (LARGEST_BODY + 1)),
            sender.post("/api/v1/observations", content=chunks()),
        ]
    assert [answer.status_code for answer in refused] == [431, 413, 413]
    assert {answer.headers["content-type"] for answer in refused} == {"application/problem+json"}
    assert not delivered


def test_the_server_serves_no_page_with_scripts_of_another_host(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]
    assert client.get("/openapi.json").status_code == 200
