"""The audit trail: all calls are recorded, without secrets and without delaying responses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dualcast.adapters.store.engine import StoreUnavailableError
from dualcast.adapters.store.tables import AuditRow
from dualcast.adapters.store.trail import append
from services.access import audit
from services.access.audit import AuditTrail
from services.access.settings import AccessSettings
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import access_world, services_world
from tests.access_world import token
from tests.served import served
from tests.unit.services.fake_id_svc import fake_id_service

DE = "/api/v1/forecasts/day-ahead/DE"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    with access_world.store(tmp_path) as engine:
        yield engine


@pytest.fixture
def deps(store: Engine) -> DayAheadDeps:
    found = services_world.da_deps()
    found.curves.add(services_world.day_ahead(date(2022, 5, 4)))
    found.access = access_world.access(store)
    return found


def rows(store: Engine, table: str = "audit") -> list[Any]:
    with store.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table} ORDER BY id")))


def row(number: int) -> tuple[type[AuditRow], dict[str, Any]]:
    values: dict[str, Any] = dict.fromkeys(
        ("service", "identity", "address", "method", "path", "trace_id"), str(number)
    )
    lists: dict[str, Any] = {"entities": [], "model_versions": []}
    return AuditRow, values | lists | {"at": services_world.NOW, "use_case": None, "status": 200, "latency_ms": 1.0}


def test_every_call_is_recorded_with_caller_request_and_outcome(store: Engine, deps: DayAheadDeps) -> None:
    key = access_world.key(store)
    assert deps.access.keys is not None
    deps.access.keys.read()
    traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    caller = "203.0.113.9", 50000
    with TestClient(build_app(deps), raise_server_exceptions=False, client=caller) as client:
        client.get(DE, headers={"Authorization": f"Bearer {token()}", **traced})
        client.get(f"{DE}?delivery_date=x", headers={"X-API-Key": key})
        client.get(DE.replace("DE", "XX"), headers={"Authorization": f"Bearer {token()}"})
        client.post(DE)
        client.get("/health/live")
    found = rows(store)
    assert [(r.method, r.status, r.identity.partition("/")[0][:8]) for r in found] == [
        ("GET", 200, "jwt:desk"),
        ("GET", 422, f"key:{key[4:8]}"),
        ("GET", 403, "jwt:desk"),
        ("POST", 401, "nobody"),
    ]
    assert (found[0].service, found[0].path, found[0].use_case) == ("da-svc", DE, "de_load")
    assert (found[0].entities, found[0].model_versions) == ('["DE"]', '["model_da_de_load/1"]')
    assert (found[0].trace_id, found[0].address) == (TRACE, "203.0.113.9")
    assert 0 < found[0].latency_ms < 10_000
    assert [r.entities for r in found[1:]] == ['["DE"]', '["XX"]', "[]"]


def test_an_internal_error_is_recorded_with_status_500(
    store: Engine, deps: DayAheadDeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deps.curves, "days", lambda *_: 1 / 0)
    with capture_logs(), TestClient(build_app(deps), raise_server_exceptions=False) as client:
        assert client.get(DE, headers={"Authorization": f"Bearer {token()}"}).status_code == 500
    assert [r.status for r in rows(store)] == [500]


def test_secrets_in_any_part_of_a_request_are_not_recorded(store: Engine, deps: DayAheadDeps) -> None:
    key, mine = access_world.key(store), token()
    with TestClient(build_app(deps)) as client:
        for secret in (key, mine):
            client.get(f"/api/v1/forecasts/day-ahead/{secret}", headers={"X-API-Key": secret})
            client.get(f"{DE}?key={secret}&use_case={secret}", headers={"Authorization": f"Bearer {secret}"})
            client.get(f"/api/v1/history/{secret}", headers={"Authorization": f"Bearer {mine}"})
    written = str(rows(store))
    assert len(rows(store)) == 6
    assert key.split("_", 2)[2] not in written
    assert mine.rpartition(".")[2] not in written


def test_recorded_paths_are_printable_and_limited_in_length(store: Engine, deps: DayAheadDeps) -> None:
    mine = {"Authorization": f"Bearer {token()}"}
    with TestClient(build_app(deps)) as client:
        for path in ("/api/v1/history/%00", "/api/v1/%1b%5b2J", "/api/v1/history/%ed%a0%80%ff", f"/api/{'x' * 5000}"):
            client.get(path, headers=mine)
    written = rows(store)
    assert len(written) == 4
    assert all(r.path.isprintable() and r.entities.isprintable() and len(r.path) <= 256 for r in written)


def test_id_svc_logs_what_it_computes_for_a_call(store: Engine) -> None:
    id_service = fake_id_service(services_world.catalogue())
    app = id_service.client.app
    assert isinstance(app, FastAPI)
    app.state.deps.access = access_world.access(store)
    with id_service.client as client:
        answers = [
            client.get("/api/v1/forecasts/intraday/DE", headers={"Authorization": f"Bearer {token()}"})
            for _ in range(3)
        ]
    (kept,) = rows(store, "predictions")
    values = [point["quantiles"]["0.5"] for point in answers[0].json()["points"]]
    assert [row[1] for row in json.loads(kept.points)["values"]] == values
    assert (kept.identity, kept.model_name, kept.model_version) == ("jwt:desk", "model_id_de_load", "2")
    assert [r.model_versions for r in rows(store)] == ['["model_id_de_load/2"]'] * 3


def test_entries_beyond_the_queue_are_dropped_and_counted_while_the_store_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "_IDLE_SECONDS", 0.001)
    hanging, written = threading.Event(), []

    def write(_: Any, entries: list[Any]) -> None:
        hanging.wait(10)
        written.extend(entries)

    trail = AuditTrail(None, write, longest=10)  # type: ignore[arg-type]
    trail.start()
    with capture_logs() as logs:
        started = time.perf_counter()
        for number in range(1_000):
            trail.add(row(number))
        took = time.perf_counter() - started
        hanging.set()
        trail.stop()
    assert took < 1.0
    assert trail.spilled + len(written) == 1_000
    assert trail.spilled >= 900
    assert [log["event"] for log in logs] == ["audit trail is losing entries"]


def test_queued_entries_are_written_when_the_store_is_available_again(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_IDLE_SECONDS", 0.001)
    monkeypatch.setattr(audit, "_RETRY_SECONDS", 0.01)
    away = [True] * 3

    def write(engine: Engine, entries: list[Any]) -> None:
        if away:
            away.pop()
            raise StoreUnavailableError("away")
        append(engine, entries)

    trail = AuditTrail(store, write)
    with capture_logs():
        trail.start()
        for number in range(5):
            trail.add(row(number))
        deadline = time.monotonic() + 10
        while len(rows(store)) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        trail.stop()
    assert ([r.path for r in rows(store)], trail.spilled) == ([str(n) for n in range(5)], 0)


def test_refused_entities_of_an_answered_list_are_entries_of_their_own(store: Engine, deps: DayAheadDeps) -> None:
    mine = {"Authorization": f"Bearer {token(role='predictor')}"}
    wanted = [{"entity_id": "DE"}, {"entity_id": "XX"}, {"entity_id": "DE", "use_case": "es_load"}]
    with TestClient(build_app(deps)) as client:
        assert client.get("/api/v1/forecasts/day-ahead?entity_id=XX&entity_id=DE", headers=mine).status_code == 200
        assert client.post("/api/v1/predict/batch", json={"requests": wanted}, headers=mine).status_code == 200
    found = [(r.status, r.use_case, r.entities) for r in rows(store)]
    listed = [(200, "de_load", '["DE"]'), (403, "de_load", '["XX"]')]
    assert found == [*listed, *listed, (403, "es_load", "[]")]


def test_a_refused_websocket_is_recorded_with_the_status_of_its_problem(store: Engine, deps: DayAheadDeps) -> None:
    mine = {"Authorization": f"Bearer {token(access=['de_load/DE', 'de_load/YY'])}"}
    with served(build_app(deps)) as address:
        for query in ("?entity_id=XX", "?entity_id=YY", "?path=sideways", "/nothing"):
            url = f"{address.replace('http', 'ws')}/api/v1/ws{query}"
            with suppress(InvalidStatus, ConnectionClosed), connect(url, additional_headers=mine) as socket:
                socket.recv(timeout=10)
    assert [(r.method, r.status) for r in rows(store)] == [("WEBSOCKET", status) for status in (403, 404, 422, 403)]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "recorded"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["10.0.0.0/8"], "203.0.113.9", "127.0.0.1"),
        (["127.0.0.0/8"], "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "2001:DB8::0:1", "2001:db8::1"),
        (["127.0.0.1"], "fe80::1%" + "x" * 300, "fe80::1"),
        (["127.0.0.1"], "x" * 304, "unknown"),
    ],
)
def test_forwarded_addresses_are_accepted_from_trusted_proxies_only_and_checked(
    store: Engine, deps: DayAheadDeps, proxies: list[str], forwarded: str, recorded: str
) -> None:
    settings = AccessSettings(_env_file=None, trusted_proxies=",".join(proxies))
    with served(build_app(deps), proxies=settings.proxies) as address:
        httpx2.get(f"{address}{DE}", headers={"X-Forwarded-For": forwarded})
    assert [(r.address, r.status) for r in rows(store)] == [(recorded, 401)]


@pytest.mark.parametrize("proxies", ["*", "localhost", "10.0.0.1/8"])
def test_a_trusted_proxy_must_be_an_address_or_a_network(proxies: str) -> None:
    with pytest.raises(ValueError, match="AccessSettings"):
        AccessSettings(_env_file=None, trusted_proxies=proxies)
