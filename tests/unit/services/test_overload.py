"""More requests than a server can answer: bursts wait, a lasting overload is shed, health is always answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.served import served
from tests.waiting import until

IN_FLIGHT = 4
PATIENCE_SECONDS = 20.0


class Gate:
    """An application whose answers wait until the gate is opened. ``waiting`` counts them."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = 0

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI()

        @app.api_route("/work", methods=["GET", "HEAD", "POST"])
        async def work() -> dict[str, str]:
            self.waiting += 1
            while not self.open.is_set():  # noqa: ASYNC110 -- another thread opens it
                await asyncio.sleep(0.005)
            return {}

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def lines() -> AsyncIterator[bytes]:
                while True:
                    yield b"line\n"
                    await asyncio.sleep(0.1)

            return StreamingResponse(lines())

        @app.get("/health/live")
        async def live() -> dict[str, str]:
            return {}

        return app


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def address(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DUALCAST_MOST_IN_FLIGHT", str(IN_FLIGHT))
    monkeypatch.setenv("DUALCAST_QUEUE_SECONDS", "0.2")
    with served(gate.app()) as url:
        yield url
        gate.open.set()


@contextmanager
def full(address: str, gate: Gate) -> Iterator[list[Future[int]]]:
    """As many requests in flight as the server takes; their statuses once the gate is open."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        requests = [
            pool.submit(lambda: httpx2.get(f"{address}/work", timeout=PATIENCE_SECONDS).status_code)
            for _ in range(IN_FLIGHT)
        ]
        try:
            until(lambda: gate.waiting == IN_FLIGHT, PATIENCE_SECONDS, every=0.01)
            yield requests
        finally:
            gate.open.set()


def test_requests_that_wait_too_long_are_refused_and_those_in_flight_are_answered(address: str, gate: Gate) -> None:
    with full(address, gate) as in_flight:
        refused = httpx2.get(f"{address}/work", timeout=PATIENCE_SECONDS)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        gate.open.set()
        assert [request.result(PATIENCE_SECONDS) for request in in_flight] == [200] * IN_FLIGHT
    assert httpx2.get(f"{address}/work").status_code == 200, "all is as before"


def test_a_burst_waits_and_is_answered(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_MOST_IN_FLIGHT", str(IN_FLIGHT))
    monkeypatch.setenv("DUALCAST_QUEUE_SECONDS", "20")
    gate.open.set()

    async def burst(address: str) -> set[int]:
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as session:
            answers = await asyncio.gather(*(session.get(f"{address}/work") for _ in range(60)))
        return {answer.status_code for answer in answers}

    with served(gate.app()) as address:
        assert asyncio.run(burst(address)) == {200}


def test_health_is_answered_under_overload(address: str, gate: Gate) -> None:
    with full(address, gate):
        assert httpx2.get(f"{address}/health/live", timeout=PATIENCE_SECONDS).status_code == 200
        assert not gate.open.is_set()


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_refused_requests_of_other_methods_leave_their_connection_usable(address: str, gate: Gate, method: str) -> None:
    with httpx2.Client(base_url=address, timeout=PATIENCE_SECONDS) as client:
        with full(address, gate):
            assert client.request(method, "/work").status_code == 503
        assert client.request(method, "/work").status_code == 200


def test_streams_do_not_take_the_places_of_requests(address: str, gate: Gate) -> None:
    gate.open.set()

    async def streams() -> int:
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as session:
            opened = [session.stream("GET", f"{address}/stream") for _ in range(2 * IN_FLIGHT)]
            entered = [await one.__aenter__() for one in opened]
            status = (await session.get(f"{address}/work")).status_code
            for stream in entered:
                await stream.aclose()
        return status

    assert asyncio.run(streams()) == 200


def test_websockets_are_refused_under_overload(address: str, gate: Gate) -> None:
    with full(address, gate) as in_flight, pytest.raises(InvalidStatus) as refused:
        connect(f"{address.replace('http', 'ws')}/ws").close()
    assert refused.value.response.status_code == 503
    assert [request.result(PATIENCE_SECONDS) for request in in_flight] == [200] * IN_FLIGHT
