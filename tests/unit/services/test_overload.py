"""More requests than a server can answer: bursts wait, a lasting overload is shed, health is always answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.served import served

SERVICE_SECONDS = 0.01
IN_FLIGHT = 4
PEAK = IN_FLIGHT / SERVICE_SECONDS


def slow_app() -> FastAPI:
    """An application that answers ``PEAK`` requests per second at most if ``IN_FLIGHT`` are processed at once."""
    app = FastAPI()

    @app.get("/work")
    @app.head("/work")
    @app.post("/work")
    async def work() -> dict[str, str]:
        await asyncio.sleep(SERVICE_SECONDS)
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
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DUALCAST_MOST_IN_FLIGHT", str(IN_FLIGHT))
    monkeypatch.setenv("DUALCAST_QUEUE_SECONDS", "0.2")
    with served(slow_app()) as url:
        yield url


async def flood(address: str, clients: int, seconds: float, method: str = "GET") -> list[tuple[float, httpx2.Response]]:
    """The answers that clients get who each send another request at once, with the seconds that each took."""
    found: list[tuple[float, httpx2.Response]] = []
    limits = httpx2.Limits(max_connections=clients)

    async def client(session: httpx2.AsyncClient, end: float) -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            answer = await session.request(method, f"{address}/work")
            found.append((time.monotonic() - started, answer))

    async with httpx2.AsyncClient(limits=limits, timeout=20) as session:
        await asyncio.gather(*(client(session, time.monotonic() + seconds) for _ in range(clients)))
    return found


def test_a_burst_waits_and_is_answered(address: str) -> None:
    answers = asyncio.run(flood(address, 30, 0.05))
    assert len(answers) >= 30
    assert {answer.status_code for _, answer in answers} == {200}


def test_under_overload_answers_stay_fast_and_the_rest_is_refused(address: str) -> None:
    answers = asyncio.run(flood(address, 150, 2))
    given = sorted(seconds for seconds, answer in answers if answer.status_code == 200)
    refused = [answer for _, answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["content-type"] for answer in refused} == {"application/problem+json"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert given[int(0.99 * len(given))] < 1
    assert len(given) > 0.4 * PEAK * 2  # this process runs the clients, too
    answers = asyncio.run(flood(address, 2, 0.5))
    assert {answer.status_code for _, answer in answers} == {200}
    assert max(seconds for seconds, _ in answers) < 0.5


def test_health_is_answered_at_once_under_overload(address: str) -> None:
    async def both() -> list[float]:
        flooding = asyncio.create_task(flood(address, 100, 1.5))
        found = []
        async with httpx2.AsyncClient() as session:
            while not flooding.done():
                started = time.monotonic()
                assert (await session.get(f"{address}/health/live", timeout=5)).status_code == 200
                found.append(time.monotonic() - started)
                await asyncio.sleep(0.1)
        await flooding
        return found

    times = asyncio.run(both())
    assert len(times) > 3
    assert sorted(times)[len(times) // 2] < 0.2


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_refused_requests_of_other_methods_leave_their_connections_usable(address: str, method: str) -> None:
    answers = asyncio.run(flood(address, 250, 0.8, method))
    assert Counter(answer.status_code for _, answer in answers).keys() == {200, 503}


def test_streams_do_not_take_the_places_of_requests(address: str) -> None:
    async def streams() -> int:
        async with httpx2.AsyncClient(timeout=5) as session:
            opened = [session.stream("GET", f"{address}/stream") for _ in range(2 * IN_FLIGHT)]
            entered = [await one.__aenter__() for one in opened]
            status = (await session.get(f"{address}/work")).status_code
            for stream in entered:
                await stream.aclose()
        return status

    assert asyncio.run(streams()) == 200


def test_websockets_are_refused_under_overload(address: str) -> None:
    async def both() -> int:
        flooding = asyncio.create_task(flood(address, 100, 1))
        await asyncio.sleep(0.4)
        try:
            with pytest.raises(InvalidStatus) as refused:
                await asyncio.to_thread(lambda: connect(f"{address.replace('http', 'ws')}/ws").close())
        finally:
            await flooding
        return refused.value.response.status_code

    assert asyncio.run(both()) == 503
