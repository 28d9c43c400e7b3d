"""Access control: valid and invalid keys and tokens, roles, grants, and that access is checked first."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from dualcast.adapters.store import keys
from dualcast.adapters.store.engine import open_store
from services import circuits
from services.access.control import Access
from services.access.settings import AccessSettings, WeakSecretError, refuse_weak_secrets
from services.access.tokens import PublishedKeys, SharedKey, Tokens
from services.circuits import Circuits
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import access_world, services_world
from tests.access_world import claims, private_key, public_pem, token
from tests.served import next_event, served
from tests.unit.services.fake_id_svc import fake_id_service

DE, XX = (f"/api/v1/forecasts/day-ahead/{entity}" for entity in ("DE", "XX"))
PROBLEM = "application/problem+json"


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


@pytest.fixture
def client(deps: DayAheadDeps) -> TestClient:
    return TestClient(build_app(deps), raise_server_exceptions=False)


class AnyName(dict[str, str]):
    """A value for every parameter of a path."""

    def __missing__(self, name: str) -> str:
        return "DE"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned_token(alg: str) -> str:
    return f"{part({'alg': alg, 'typ': 'JWT', 'kid': 'first'})}.{part(claims())}."


def key_confusion_token() -> str:
    """A token with HS256 over the public key of an issuer that signs with RS256, which PyJWT refuses to create."""
    import hashlib  # noqa: PLC0415 - what an attacker does by hand
    import hmac  # noqa: PLC0415

    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'first'})}.{part(claims())}"
    return f"{text}.{part(hmac.new(public_pem(), text.encode(), hashlib.sha256).digest())}"


def tampered_token() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{part(claims(access=['*/*'], role='operator'))}.{signature}"


def past(**more: Any) -> str:
    now = int(time.time())
    return token(iat=now - 900, exp=now - 60, **more)


NOT_UTF8 = b'{"alg": "RS256", "kid": "\xff"}'
HOSTILE: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned_token("none"),
    "alg None": lambda: unsigned_token("nOnE"),
    "no alg": lambda: f"{part({'typ': 'JWT', 'kid': 'first'})}.{part(claims())}.",
    "key confusion": key_confusion_token,
    "shared secret where keys are published": lambda: jwt.encode(
        claims(), access_world.SECRET, headers={"kid": "first"}
    ),
    "tampered": tampered_token,
    "expired": past,
    "never expires": lambda: token(exp=None),
    "lives a day": lambda: token(exp=int(time.time()) + 86400),
    "issued in the future": lambda: token(iat=int(time.time()) + 600, exp=int(time.time()) + 900),
    "not yet valid": lambda: token(nbf=int(time.time()) + 600),
    "other audience": lambda: token(aud="elsewhere"),
    "no audience": lambda: token(aud=None),
    "other issuer": lambda: token(iss="https://evil.example"),
    "other key, known kid": lambda: jwt.encode(
        claims(), private_key("evil"), algorithm="RS256", headers={"kid": "first"}
    ),
    "unknown kid": lambda: token("evil"),
    "no kid": lambda: jwt.encode(claims(), private_key(), algorithm="RS256"),
    "own key in the header": lambda: jwt.encode(
        claims(), private_key("evil"), algorithm="RS256", headers={"kid": "x", "jku": "https://evil.example"}
    ),
    "kid of another kind": lambda: f"{part({'alg': 'RS256', 'kid': ['first']})}.{part(claims())}.AAAA",
    "no subject": lambda: token(sub=None),
    "empty subject": lambda: token(sub=""),
    "control characters": lambda: token(sub="a\nb"),
    "huge": lambda: "e" * 60_000,
    "nested": lambda: f"{part(b'[' * 3000)}.{part(b'[' * 3000)}.AAAA",
    "infinite": lambda: token(exp=1e308),
    "a number of 5000 digits": lambda: f"{part(b'1' * 5000)}.{part({})}.AAAA",
    "not base64": lambda: "%%%.%%%.%%%",
    "dots": lambda: "....",
    "empty": lambda: "",
    "null": lambda: f"{part(b'null')}.{part(b'null')}.AAAA",
    "not UTF-8": lambda: f"{part(NOT_UTF8)}.{part(claims())}.AAAA",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_invalid_token_is_refused(client: TestClient, kind: str) -> None:
    answer = client.get(DE, headers=bearer(HOSTILE[kind]()))
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:dualcast:problem:unauthenticated")
    assert answer.headers["content-type"] == PROBLEM
    assert "Bearer" in answer.headers["www-authenticate"]
    assert "points" not in answer.text


@pytest.mark.parametrize(
    "told",
    [
        {"role": None},
        {"role": "root"},
        {"role": ["operator"]},
        {"access": None},
        {"access": []},
        {"access": "*/*"},
        {"access": ["*"]},
        {"access": [["*/*"]]},
        {"access": {"*/*": 1}},
        {"access": ["es_load/*"]},
        {"access": ["de_load/XX"]},
        {"access": ["de_load/D*"]},
    ],
)
def test_a_valid_token_without_suitable_role_or_grants_is_not_permitted(
    client: TestClient, told: dict[str, Any]
) -> None:
    answer = client.get(DE, headers=bearer(token(**told)))
    assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)


def test_a_valid_token_is_accepted(client: TestClient) -> None:
    assert client.get(DE, headers=bearer(token())).status_code == 200
    assert client.get(DE, headers={"Authorization": f"bEaReR {token(aud=['x', 'dualcast'])}"}).status_code == 200


def test_a_cached_token_is_verified_again_after_its_expiry(
    deps: DayAheadDeps, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []

    class Counted(SharedKey):
        async def key(self, token: str) -> jwt.PyJWK | bytes:
            verified.append(token)
            return await super().key(token)

    secret, start = access_world.SECRET, time.time()
    deps.access.tokens = Tokens(access_world.token_settings(jwt_secret=secret), Counted(secret))
    mine = bearer(jwt.encode(claims(exp=int(start) + 20), secret, algorithm="HS256"))
    for seconds, expected in ((0, 1), (10, 1), (25, 2)):
        monkeypatch.setattr("services.access.tokens.time.time", lambda s=seconds: start + s)
        assert client.get(DE, headers=mine).status_code == 200
        assert len(verified) == expected


def test_a_shared_key_accepts_only_its_own_algorithm(deps: DayAheadDeps, client: TestClient) -> None:
    deps.access.tokens = Tokens(access_world.token_settings(jwt_secret=access_world.SECRET))
    shared = jwt.encode(claims(), access_world.SECRET, algorithm="HS256")
    other = jwt.encode(claims(), access_world.SECRET + "x" * 40, algorithm="HS512")
    statuses = [
        client.get(DE, headers=bearer(text)).status_code for text in (shared, other, token(), unsigned_token("none"))
    ]
    assert statuses == [200, 401, 401, 401]


def test_keys_are_read_from_the_url_of_the_issuer(deps: DayAheadDeps, client: TestClient) -> None:
    symmetric = {"kty": "oct", "kid": "shared", "k": part(access_world.SECRET.encode())}
    body = json.dumps({"keys": [access_world.public_jwk("first"), symmetric]}).encode()

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/keys"
        deps.access.tokens = Tokens(access_world.token_settings(jwt_jwks_url=url))
        assert client.get(DE, headers=bearer(token())).status_code == 200
        forged = jwt.encode(claims(), access_world.SECRET, headers={"kid": "shared"})
        assert client.get(DE, headers=bearer(forged)).status_code == 401
        server.shutdown()


def test_changed_issuer_keys_are_read_with_a_limited_request_rate(deps: DayAheadDeps, client: TestClient) -> None:
    asked: list[int] = []
    names = ["first"]

    def fetch() -> list[jwt.PyJWK]:
        asked.append(1)
        return access_world.published(*names)

    source = PublishedKeys("", fetch)
    deps.access.tokens = Tokens(access_world.token_settings(), source)
    assert client.get(DE, headers=bearer(token("first"))).status_code == 200
    names[:] = ["second"]
    source._tried_at = float("-inf")
    late = [token(name, sub="another") for name in ("second", "first", "evil", "evil")]
    answers = [client.get(DE, headers=bearer(text)).status_code for text in late]
    assert (answers, len(asked)) == ([200, 401, 401, 401], 2)


def test_tokens_are_refused_while_the_issuer_is_unavailable(deps: DayAheadDeps, client: TestClient) -> None:
    def fetch() -> list[jwt.PyJWK]:
        raise OSError("away")

    deps.access.tokens = Tokens(access_world.token_settings(), PublishedKeys("", fetch))
    answer = client.get(DE, headers=bearer(token()))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:dualcast:problem:issuer-unavailable")
    assert answer.headers["retry-after"] == "30"


def revocable(store: Engine, deps: DayAheadDeps) -> tuple[str, Callable[[], None]]:
    """A key that the service knows, and a function that revokes it. Keys are reloaded only by this function."""
    key, ring = access_world.key(store), deps.access.keys
    key_id = keys.id_of(key)
    assert ring is not None
    assert key_id is not None
    ring.read()
    deps.access = replace(deps.access, background=())

    def revoke() -> None:
        keys.revoke(store, key_id, services_world.NOW)
        ring.read()

    return key, revoke


def test_a_key_is_accepted_until_it_is_revoked_or_expires(
    store: Engine, deps: DayAheadDeps, client: TestClient
) -> None:
    over = access_world.key(store, days=-1)
    good, revoke = revocable(store, deps)
    assert [client.get(DE, headers={"X-API-Key": k}).status_code for k in (good, over)] == [200, 401]
    revoke()
    assert client.get(DE, headers={"X-API-Key": good}).status_code == 401


def test_an_open_websocket_is_closed_when_its_key_ends(store: Engine, deps: DayAheadDeps) -> None:
    key, revoke = revocable(store, deps)
    with (
        TestClient(build_app(deps)) as client,
        client.websocket_connect("/api/v1/ws?path=day-ahead", headers={"X-API-Key": key}) as socket,
    ):
        assert socket.receive_json()["entity_id"] == "DE"
        revoke()
        deps.curves.add(services_world.day_ahead(date(2022, 5, 5)))
        assert socket.receive()["code"] == 4401


def test_an_open_event_stream_ends_when_its_key_ends(store: Engine, deps: DayAheadDeps) -> None:
    key, revoke = revocable(store, deps)
    ask: dict[str, Any] = {"params": {"path": "day-ahead"}, "headers": {"X-API-Key": key}, "timeout": 10.0}
    with served(build_app(deps)) as url, httpx2.stream("GET", f"{url}/api/v1/events", **ask) as answer:
        lines = answer.iter_lines()
        assert next_event(lines)[0] == "day_ahead"
        revoke()
        deps.curves.add(services_world.day_ahead(date(2022, 5, 5)))
        assert not [line for line in lines if line.startswith("data:")], "a curve was sent after the revocation"


def test_invalid_keys_are_refused(store: Engine, deps: DayAheadDeps, client: TestClient) -> None:
    good = access_world.key(store)
    assert deps.access.keys is not None
    deps.access.keys.read()
    prefix, key_id, secret = good.split("_", 2)
    digest = keys.list_keys(store)[0].digest
    wrong: list[Any] = ["", " ", good[:-1], good + "x", good.upper(), key_id, secret, digest, f"{prefix}_{key_id}_"]
    wrong += [
        f"{prefix}_{key_id}_{digest}",
        f"{prefix}__{secret}",
        "x" * 60_000,
        good + "x" * 300,
        "' OR 1=1 --",
        "%00",
    ]
    wrong += ["schlüssel".encode(), b"\xff\xfe", "dck_\u0661_x".encode()]
    assert {client.get(DE, headers={"X-API-Key": text}).status_code for text in wrong} == {401}
    both = {"X-API-Key": good, **bearer(token())}
    assert client.get(DE, headers=both).status_code == 401
    assert client.get(f"{DE}?api_key={good}").status_code == 401
    assert client.get(DE, headers=bearer(good)).status_code == 401
    assert client.get(DE, headers={"X-API-Key": good}).status_code == 200


def test_grants_are_checked_for_existing_and_unknown_use_cases_and_entities(
    deps: DayAheadDeps, client: TestClient
) -> None:
    mine = bearer(token(access=["de_load/XX", "pv_parks/*"]))
    every = bearer(token(access=["*/*"]))
    asked = [DE, XX, f"{XX}?use_case=pv_parks", f"{DE}?use_case=es_load", f"{DE}?use_case=nope"]
    assert [client.get(path, headers=mine).status_code for path in asked] == [403, 404, 404, 403, 403]
    assert [client.get(path, headers=every).status_code for path in asked] == [200, 404, 404, 404, 404]


@pytest.mark.parametrize("name", ["da-svc", "id-svc"])
def test_no_documented_route_returns_entities_without_a_grant(name: str, deps: DayAheadDeps) -> None:
    app = build_app(deps) if name == "da-svc" else fake_id_service(services_world.catalogue()).app
    app.state.deps.access = deps.access
    client, stranger = TestClient(app), bearer(token(role="predictor", access=["es_load/*", "de_load/XX"]))
    routes = [(p, method) for p, ways in app.openapi()["paths"].items() if p.startswith("/api/") for method in ways]
    assert len(routes) >= 7
    for path, method in routes:
        address = path.format(entity_id="DE", path="day-ahead")
        about = {} if "{entity_id}" in path else {"entity_id": "DE"}
        if method == "post":
            body = {"requests": [about]} if path.endswith("batch") else about
            answer = client.post(address, json=body, headers=stranger)
        elif path.endswith("status"):
            answer = client.get(address, headers=stranger)
        else:
            answer = client.get(address, params=about, headers=stranger)
        assert "quantiles" not in answer.text, path
        shown = answer.json().get("entities", answer.json().get("problems", answer.json().get("results")))
        assert shown == [] or "not-permitted" in answer.text, path
    socket = "/api/v1/ws?entity_id=DE"
    with pytest.raises(WebSocketDisconnect) as ended, client.websocket_connect(socket, headers=stranger) as ws:
        ws.receive_text()
    assert ended.value.code == 4403


def test_access_is_checked_for_cached_answers(client: TestClient) -> None:
    stranger, friend = bearer(token(sub="stranger", access=["es_load/*"])), bearer(token(sub="friend"))
    assert [client.get(DE, headers=friend).status_code for _ in range(2)] == [200, 200]
    assert client.get(DE, headers=stranger).status_code == 403
    assert client.get(DE).status_code == 401


def test_the_status_contains_only_granted_entities(client: TestClient) -> None:
    seen = client.get("/api/v1/status", headers=bearer(token(access=["de_load/XX"]))).json()
    assert (seen["entities"], seen["use_cases"]) == ([], ["de_load"])
    seen = client.get("/api/v1/status", headers=bearer(token(access=["*/DE", "other/*"]))).json()
    assert [entity["entity_id"] for entity in seen["entities"]] == ["DE"]


@pytest.mark.parametrize("path", [f"{DE}?delivery_date=yesterday", "/api/v1/history/DE?from=x", f"{DE}?format=xml"])
def test_access_is_checked_before_parameters_are_validated(client: TestClient, path: str) -> None:
    other = bearer(token(access=["es_load/*"]))
    statuses = [client.get(path, headers=headers).status_code for headers in ({}, other, bearer(token()))]
    assert statuses == [401, 403, 422]


def test_roles_are_checked_before_the_body_is_read(deps: DayAheadDeps) -> None:
    app = build_app(deps)
    reads: list[bytes] = []

    @app.post("/api/v1/a-body")
    async def predict(request: Request) -> dict[str, int]:
        reads.append(await request.body())
        return {"read": len(reads[-1])}

    @app.get("/api/v1/operations/anything")
    async def operate() -> None: ...

    client = TestClient(app)
    roles = ("reader", "predictor", "operator")
    callers = [bearer(token(role=role)) for role in roles]
    assert [client.post("/api/v1/a-body", content=b"x" * 100, headers=h).status_code for h in ({}, *callers)] == [
        401,
        403,
        200,
        200,
    ]
    assert len(reads) == 2
    assert [client.get("/api/v1/operations/anything", headers=h).status_code for h in callers] == [403, 403, 200]


def test_a_websocket_is_checked_like_other_calls(deps: DayAheadDeps) -> None:
    app = build_app(deps)

    @app.websocket("/api/v1/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    client = TestClient(app)
    with client.websocket_connect("/api/v1/live", headers=bearer(token())) as socket:
        assert socket.receive_text() == "hello"
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/api/v1/live"):
        pass
    assert refused.value.status_code == 401


@pytest.mark.parametrize("service", ["da", "id"])
def test_every_api_route_checks_access(service: str, store: Engine, deps: DayAheadDeps) -> None:
    app = build_app(deps) if service == "da" else fake_id_service(services_world.catalogue()).client.app
    assert isinstance(app, FastAPI)
    app.state.deps.access = access_world.access(store, tokens=access_world.tokens())
    client, other = TestClient(app, raise_server_exceptions=False), bearer(token(role="operator", access=["es_load/*"]))
    paths = client.get("/openapi.json").json()["paths"]
    calls = [(method, path) for path, operations in paths.items() if path.startswith("/api/") for method in operations]
    assert calls
    assert {client.request(method, path.format_map(AnyName())).status_code for method, path in calls} == {401}
    asked = [(method, path) for method, path in calls if "{entity_id}" in path]
    assert {
        client.request(method, path.format_map(AnyName()), headers=other).status_code for method, path in asked
    } == {403}


def test_the_page_health_and_documentation_stay_open(client: TestClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/page/app.js", "/health/live"):
        assert client.get(path).status_code == 200
    operation = client.get("/openapi.json").json()["paths"]["/api/v1/status"]["get"]
    assert operation["security"] == [{"key": []}, {"token": []}]
    assert {"401", "403", "429"} <= set(operation["responses"])


def test_answers_are_not_shared_between_callers_by_caches(client: TestClient) -> None:
    assert "X-API-Key" in client.get(DE, headers=bearer(token())).headers["vary"]


@pytest.mark.parametrize("environment", ["demo", "production"])
def test_with_an_unavailable_store_at_the_start_tokens_are_accepted_and_keys_are_not(
    environment: str, store: Engine, deps: DayAheadDeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(circuits._PAUSE_SECONDS, "store", 0)
    settings = services_world.settings(
        services_world.frozen(), environment=environment, store="postgresql://desk@127.0.0.1:1/none"
    )
    access = Access.from_settings(settings, open_store(settings), "da-svc", "http://127.0.0.1:8000", Circuits())
    deps.access = replace(access, tokens=access_world.tokens(), limits=None, background=[])
    client, key = TestClient(build_app(deps)), access_world.key(store)
    assert client.get(DE, headers=bearer(token())).status_code == 200
    answer = client.get(DE, headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:dualcast:problem:keys-unavailable")
    deps.access.tokens = None
    assert client.get(DE).status_code == 401
    assert access.keys is not None
    access.keys._engine, access.keys._make_ready = store, lambda: None
    access.keys.read()
    assert client.get(DE, headers={"X-API-Key": key}).status_code == 200


def test_the_demo_is_open_on_loopback_until_the_first_key_is_created(
    store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DUALCAST_JWT_ISSUER", raising=False)
    demo = services_world.settings(services_world.frozen(), state_dir=tmp_path)
    production = demo.model_copy(update={"environment": "production"})

    def is_open(settings: Any, host: str) -> bool:
        return Access.from_settings(settings, store, "da-svc", f"http://{host}:8000", Circuits()).is_open

    assert [is_open(demo, "127.0.0.1"), is_open(demo, "0.0.0.0"), is_open(production, "127.0.0.1")] == [
        True,
        False,
        False,
    ]
    key = access_world.key(store)
    key_id = keys.id_of(key)
    assert key_id is not None
    assert not is_open(demo, "127.0.0.1")
    keys.revoke(store, key_id, services_world.NOW)
    assert not is_open(demo, "127.0.0.1"), "the expiry of the last key must not open the service"


@pytest.mark.parametrize(
    "told",
    [
        {"jwt_issuer": "x"},
        {"jwt_issuer": "x", "jwt_audience": "y"},
        {"jwt_issuer": "x", "jwt_audience": "y", "jwt_secret": "short"},
        {"jwt_issuer": "x", "jwt_audience": "y", "jwt_jwks_url": "http://issuer.example/keys"},
        {"jwt_issuer": "x", "jwt_audience": "y", "jwt_jwks_url": "file:///etc/passwd"},
        {"jwt_issuer": "x", "jwt_audience": "y", "jwt_jwks_url": "https://i/k", "jwt_secret": access_world.SECRET},
        {"jwt_secret": access_world.SECRET},
        {"tls_certificate": "cert.pem"},
        {"rate_limit": "often"},
    ],
)
def test_inconsistent_settings_are_refused_without_showing_secrets(told: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="AccessSettings") as raised:
        AccessSettings(_env_file=None, **told)  # type: ignore[arg-type]
    assert told.get("jwt_secret", "?") not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "is_weak"),
    [
        ("store", "postgresql://dualcast@db.example/x", True),
        ("store", "postgresql://dualcast:dualcast@db.example/x", True),
        ("store", "postgresql://dualcast:changeme1234@db.example/x", True),
        ("store", "postgresql://dualcast:b7Kq-2mVx-90Ls@db.example/x", False),
        ("redis", "redis://cache.example:6379/0", True),
        ("redis", "redis://:aaaaaaaaaaaaaaaa@cache.example:6379/0", True),
        ("redis", "redis://:b7Kq-2mVx-90Ls@cache.example:6379/0", False),
        ("redis", "redis://127.0.0.1:6379/0", False),
    ],
)
def test_production_refuses_default_secrets(name: str, value: str, is_weak: bool) -> None:
    access = AccessSettings(_env_file=None)
    demo = services_world.settings(services_world.frozen(), **{name: value})
    refuse_weak_secrets(demo, access)
    production = services_world.settings(services_world.frozen(), environment="production", **{name: value})
    if not is_weak:
        refuse_weak_secrets(production, access)
        return
    with pytest.raises(WeakSecretError, match=f"DUALCAST_{name.upper()}") as raised:
        refuse_weak_secrets(production, access)
    assert value not in str(raised.value)


def test_a_key_expires_at_its_expiry_time(store: Engine) -> None:
    access_world.key(store, days=1)
    (key,) = keys.list_keys(store)
    day = timedelta(days=1)
    assert [key.is_live(services_world.NOW + d) for d in (day - timedelta(seconds=1), day)] == [True, False]


def test_a_lost_or_damaged_store_does_not_open_a_demo_that_had_keys(tmp_path: Path) -> None:
    settings = services_world.settings(services_world.frozen(), state_dir=tmp_path)

    def is_open() -> bool:
        engine = open_store(settings)
        try:
            return Access.from_settings(settings, engine, "da-svc", "http://127.0.0.1:8000", Circuits()).is_open
        finally:
            engine.dispose()

    assert is_open(), "no key was ever created"
    engine = open_store(settings)
    access_world.key(engine)
    engine.dispose()
    assert not is_open()
    for file in tmp_path.glob("store.db*"):
        file.unlink()
    assert not is_open(), "the store was deleted"
    (tmp_path / "store.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    assert not is_open(), "the store cannot be read"
