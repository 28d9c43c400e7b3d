"""Requests to an API: transient faults are retried, errors contain no secrets, and rate limits are kept."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from streaming.ingest.pull.http import Api, RefusedError, UnavailableError
from streaming.ingest.signals import Stop, Stopped
from tests.unit.streaming.pull.conftest import QUICK


def read(answer: httpx2.Response) -> Any:
    return json.loads(answer.content)


@pytest.fixture
def api(httpserver: HTTPServer, stop: Stop) -> Iterator[Api]:
    params = {"securityToken": "s3cret"}
    with closing(Api(httpserver.url_for("/api"), stop, per_minute=1000, params=params, policy=QUICK)) as made:
        yield made


def answers(httpserver: HTTPServer, *responses: Response) -> list[float]:
    """Set the responses of the server; the last one repeats. Returns the times of the requests."""
    asked: list[float] = []

    def handler(_: Request) -> Response:
        asked.append(time.monotonic())
        return responses[min(len(asked), len(responses)) - 1]

    httpserver.expect_request("/api/load").respond_with_handler(handler)
    return asked


FINE = Response('{"load": 1}')


@pytest.mark.parametrize(
    "fault",
    [
        Response("", 503),
        Response("", 500),
        Response("", 429),
        Response('{"load": 1'),
        Response("<html>maintenance</html>"),
        Response("", 429, {"Retry-After": "nonsense"}),
    ],
)
def test_a_transient_fault_is_retried(httpserver: HTTPServer, api: Api, fault: Response) -> None:
    asked = answers(httpserver, fault, fault, FINE)
    assert api.get("load", read) == {"load": 1}
    assert len(asked) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_sets_the_wait(
    httpserver: HTTPServer, api: Api, stop: Stop, monkeypatch: pytest.MonkeyPatch, as_date: bool
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(stop, "wait", waits.append)
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True) if as_date else "100"
    answers(httpserver, Response("", 429, {"Retry-After": after}), FINE)
    api.get("load", read)
    assert len(waits) == 1
    assert 95 < waits[0] <= 100


def test_a_wait_longer_than_the_policy_fails_at_once(httpserver: HTTPServer, api: Api) -> None:
    asked = answers(httpserver, Response("", 503, {"Retry-After": "3600"}))
    with pytest.raises(UnavailableError, match="retried in 3600 s"):
        api.get("load", read)
    assert len(asked) == 1


def test_the_error_of_a_permanent_fault_contains_no_token(httpserver: HTTPServer, api: Api) -> None:
    asked = answers(httpserver, Response("", 502))
    with pytest.raises(UnavailableError, match="status 502") as error:
        api.get("load", read)
    assert len(asked) == QUICK.attempts
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refused_request_is_not_repeated(httpserver: HTTPServer, api: Api, status: int) -> None:
    asked = answers(httpserver, Response("no such token", status, {"Location": "http://elsewhere.invalid/"}))
    with pytest.raises(RefusedError, match=f"{status} 'no such token'") as error:
        api.get("load", read)
    assert len(asked) == 1
    assert "s3cret" not in str(error.value)


def test_an_unreachable_source_is_unavailable(stop: Stop) -> None:
    with (
        closing(Api("http://127.0.0.1:9", stop, per_minute=1000, policy=QUICK)) as api,
        pytest.raises(UnavailableError, match="ConnectError"),
    ):
        api.get("load", read)


def test_requests_stay_within_the_rate_limit_per_minute(httpserver: HTTPServer, stop: Stop) -> None:
    asked = answers(httpserver, FINE)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        stop.signal = 15
        return True

    stop.wait = wait  # type: ignore[method-assign]
    with closing(Api(httpserver.url_for("/api"), stop, per_minute=3, policy=QUICK)) as api:
        for _ in range(3):
            api.get("load", read)
        with pytest.raises(Stopped):
            api.get("load", read)
    assert len(asked) == 3
    assert 55 < waits[0] <= 61


def test_a_signal_ends_a_wait(httpserver: HTTPServer, api: Api, stop: Stop) -> None:
    answers(httpserver, Response("", 503))
    stop.signal = 15
    with pytest.raises(Stopped):
        api.get("load", read)


def test_an_answer_is_bounded_while_it_is_decompressed(
    httpserver: HTTPServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.ingest.pull.http.LARGEST_ANSWER", 2**20)
    packed = Response(gzip.compress(bytes(2**26)), 200, headers={"content-encoding": "gzip"})
    httpserver.expect_request("/api/load").respond_with_response(packed)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match="more than 1048576 bytes"):
            api.get("load", read)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_a_compressed_answer_is_read(httpserver: HTTPServer, api: Api) -> None:
    packed = Response(gzip.compress(b'{"load": 1}'), 200, headers={"content-encoding": "gzip"})
    httpserver.expect_request("/api/load").respond_with_response(packed)
    assert api.get("load", read) == {"load": 1}
