"""Limits on what a client may send, checked on a real socket: headers, bodies and their contents."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
import psutil
import pytest
import uvicorn

from dualcast.adapters import http_server
from services.api import application
from services.da_svc.app import build_app
from tests import services_world as world
from tests.served import served

KB, MB = 1024, 2**20
PREDICT = "/api/v1/predict"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """da-svc on a real socket, with limits as in production."""
    deps = world.da_deps()
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    with served(build_app(deps)) as url:
        yield url


def send(address: str, *parts: bytes) -> tuple[int, bytes]:
    """Send raw bytes, ignoring that the server stops to read, and return the status and the rest of the response."""
    target = urlsplit(address)
    assert target.hostname is not None
    with socket.create_connection((target.hostname, target.port or 0), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except ConnectionError:
            pass
        answer = b""
        while b"\r\n\r\n" not in answer or (b"problem+json" in answer and not answer.endswith(b"}")):
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return int(answer.split(b" ", 2)[1]), answer


def head(*lines: bytes, request: bytes = b"GET /health/live HTTP/1.1") -> bytes:
    return b"\r\n".join([request, b"Host: localhost", *lines, b"", b""])


UPGRADE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@pytest.mark.parametrize(
    "request_head",
    [
        head(b"x-a: " + b"v" * 33 * KB),
        head(*(b"x-%d: %s" % (i, b"v" * 1000) for i in range(40))),
        head(request=b"GET /health/live?" + b"q" * 33 * KB + b" HTTP/1.1"),
        head(b"x-a: " + b"v" * 200 * KB),
        head(*UPGRADE, b"x-a: " + b"v" * 33 * KB, request=b"GET /api/v1/ws HTTP/1.1"),
        head(*UPGRADE, b"x-a: " + b"v" * 9 * KB, request=b"GET /api/v1/ws HTTP/1.1"),
        head(*UPGRADE, *[b"x: y"] * 200, request=b"GET /api/v1/ws HTTP/1.1"),
    ],
    ids=["one header", "many headers", "query", "at once", "websocket", "websocket line", "websocket headers"],
)
def test_large_headers_are_refused(address: str, request_head: bytes) -> None:
    status, answer = send(address, request_head)
    assert status == 431
    assert b"application/problem+json" in answer


def test_headers_within_the_limit_are_accepted(address: str) -> None:
    assert send(address, head(b"x-a: " + b"v" * 31 * KB))[0] == 200
    assert send(address, head(b"x-a: v"), head(b"x-a: v"))[0] == 200


def test_endless_headers_are_refused_early_and_delay_no_other_client(address: str) -> None:
    started = time.perf_counter()
    status, _ = send(address, head()[:-2] + b"x-a: ", *[b"v" * MB] * 64)
    assert status == 431
    assert time.perf_counter() - started < 5
    assert httpx2.get(f"{address}/health/live").status_code == 200


def test_endless_trailers_end_the_connection(address: str) -> None:
    start = head(b"Transfer-Encoding: chunked", request=b"POST /api/v1/predict HTTP/1.1")
    with pytest.raises((IndexError, ConnectionError)):  # closed without a response
        send(address, start + b"0\r\nx-a: ", *[b"v" * MB] * 32)
    assert httpx2.get(f"{address}/health/live").status_code == 200


def test_a_declared_large_body_is_refused_before_the_gate_and_before_it_is_sent(address: str) -> None:
    start = head(b"Content-Length: %d" % (300 * MB), request=b"POST /api/v1/predict HTTP/1.1")
    status, answer = send(address, start)
    assert status == 413
    assert b"application/problem+json" in answer


def test_a_large_body_in_chunks_is_refused_as_a_problem_without_being_kept(address: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * MB

    before = psutil.Process().memory_info().rss
    answer = httpx2.post(f"{address}{PREDICT}", content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert psutil.Process().memory_info().rss - before < 32 * MB


def many(count: int, **fields: Any) -> dict[str, Any]:
    return {"requests": [{"entity_id": "DE", **fields} for _ in range(count)]}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MB,
        json.dumps(many(1, features={"f": ["x"] * 200_000})).encode(),
        json.dumps(many(1, features={"f": [1] * 300_000})).encode(),
        json.dumps(many(200, features={f"f{i}": "x" for i in range(200)})).encode(),
        json.dumps(many(1, **{f"{i}": "" for i in range(80_000)})).encode(),
        json.dumps(many(20_000)).encode(),
    ],
    ids=["nesting", "wrong values", "a long list", "wrong features", "unknown fields", "a long batch"],
)
def test_a_large_wrong_body_is_refused_quickly(address: str, body: bytes) -> None:
    assert len(body) <= MB
    started = time.perf_counter()
    answer = httpx2.post(f"{address}{PREDICT}/batch", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 4 * KB
    assert time.perf_counter() - started < 1.5


def test_the_limits_of_the_settings_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_LARGEST_BODY", "2048")
    monkeypatch.setenv("DUALCAST_TRUSTED_PROXIES", "10.0.0.1, 192.168.0.0/16")
    started: list[uvicorn.Config] = []
    monkeypatch.setattr(http_server, "run", started.append)
    deps = world.da_deps()
    application.run(build_app(deps), deps.settings, "http://127.0.0.1:8000")
    (config,) = started
    assert isinstance(config.app, http_server.BodyLimit)
    assert config.app.max_body_size == 2048
    assert config.forwarded_allow_ips == ["10.0.0.1", "192.168.0.0/16"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"requests":[' + b",".join([b"[]"] * 349_000) + b"]}",
        b'{"requests":[' + b",".join([b'{"entity_id":{"a":{}}}'] * 40_000) + b"]}",
    ],
    ids=["lists", "objects"],
)
def test_a_body_of_many_lists_or_objects_is_refused_before_it_is_parsed(
    address: str, body: bytes, parsing: dict[str, set[str]]
) -> None:
    answer = httpx2.post(f"{address}{PREDICT}/batch", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert parsing == {"json": set(), "orjson": set()}
    assert "lists and objects" in json.loads(answer.content)["detail"]


def test_large_bodies_are_parsed_in_another_thread_than_small_ones(address: str, parsing: dict[str, set[str]]) -> None:
    for sent in (many(1), many(1, features={f"f{i}": [1.5] * 100 for i in range(190)})):
        body = json.dumps(sent).encode()
        answer = httpx2.post(f"{address}{PREDICT}/batch", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
    assert parsing["json"]
    assert parsing["orjson"]
    assert not parsing["json"] & parsing["orjson"]


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The threads in which each library parses."""
    found: dict[str, set[str]] = {"json": set(), "orjson": set()}

    def noting(name: str, loads: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def noted(text: bytes) -> Any:
            found[name].add(threading.current_thread().name)
            return loads(text)

        return noted

    monkeypatch.setattr(json, "loads", noting("json", json.loads))
    monkeypatch.setattr(orjson, "loads", noting("orjson", orjson.loads))
    return found
