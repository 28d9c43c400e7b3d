"""Rate limits: for each caller, over all replicas, and while Redis is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from structlog.testing import capture_logs

from services import circuits as services_circuits
from services.access.limits import RateLimits
from services.circuits import Circuits
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from tests import access_world, services_world
from tests.access_world import token
from tests.served import served

STATUS = "/api/v1/status"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    with access_world.store(tmp_path) as engine:
        yield engine


def replica(engine: Engine, redis_: str, rate: str = "3/minute") -> DayAheadDeps:
    deps = services_world.da_deps()
    deps.access = access_world.access(engine, rate, redis_, background=[])
    return deps


def failed() -> Circuits:
    """Circuits whose last call of Redis has failed."""
    found = Circuits()
    with suppress(ConnectionError), found.calling("redis-limits"):
        raise ConnectionError
    return found


def caller(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(sub=name)}"}


def test_each_caller_has_one_limit_over_all_replicas(store: Engine, redis_url: str) -> None:
    with (
        TestClient(build_app(replica(store, redis_url))) as one,
        TestClient(build_app(replica(store, redis_url))) as two,
    ):
        answers = [client.get(STATUS, headers=caller("desk")) for client in (one, two, one, two)]
        other = one.get(STATUS, headers=caller("other"))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"3"}
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
    assert refused.json()["type"] == "urn:dualcast:problem:too-many-requests"
    assert (other.status_code, other.headers["ratelimit-remaining"]) == (200, "2")


def test_calls_of_a_frequent_caller_are_counted_in_advance_within_the_limit(store: Engine, redis_url: str) -> None:
    with (
        TestClient(build_app(replica(store, redis_url, "200/minute"))) as one,
        TestClient(build_app(replica(store, redis_url, "200/minute"))) as two,
    ):
        statuses = [client.get(STATUS, headers=caller("desk")).status_code for _ in range(110) for client in (one, two)]
    # calls that one replica has counted in advance, at most a fiftieth of the limit, are lost to the other
    assert 192 <= statuses.count(200) <= 200
    assert statuses[-10:] == [429] * 10


def test_concurrent_calls_are_each_counted() -> None:
    async def at_once() -> list[bool]:
        limits = RateLimits(access_world.NO_REDIS, "200/minute", failed())
        rounds = [await asyncio.gather(*(limits.hit("desk") for _ in range(25))) for _ in range(12)]
        return [verdict.allowed for verdicts in rounds for verdict in verdicts]

    allowed = asyncio.run(at_once())
    assert 196 <= sum(allowed) <= 200
    assert not any(allowed[-50:])


def test_without_redis_the_limit_is_applied_in_each_process(store: Engine) -> None:
    with capture_logs() as logs, TestClient(build_app(replica(store, access_world.NO_REDIS))) as client:
        statuses = [client.get(STATUS, headers=caller("desk")).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert [log["event"] for log in logs].count("server unavailable") == 1


def test_calls_are_counted_in_redis_when_it_is_available_again(
    store: Engine, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(services_circuits._PAUSE_SECONDS, "redis-limits", 1.0)
    deps = replica(store, redis_url)
    deps.access.limits = RateLimits(redis_url, "100/minute", failed())
    with TestClient(build_app(deps)) as client:
        client.get(STATUS, headers=caller("desk"))
        assert not list(redis.Redis.from_url(redis_url.replace("redis+", "")).scan_iter("*desk*"))
        time.sleep(1.0)
        assert client.get(STATUS, headers=caller("desk")).headers["ratelimit-remaining"] == "99"
    counted = list(redis.Redis.from_url(redis_url.replace("redis+", "")).scan_iter("*desk*"))
    assert len(counted) == 1


def test_unauthenticated_calls_are_limited_without_affecting_other_callers(store: Engine) -> None:
    with TestClient(build_app(replica(store, access_world.NO_REDIS))) as client:
        guesses = [client.get(STATUS, headers={"X-API-Key": f"guess {i}"}).status_code for i in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        assert client.get(STATUS, headers=caller("desk")).status_code == 200
        assert client.get("/health/live").status_code == 200


async def flood(limits: RateLimits, calls: int, at_once: int = 100) -> int:
    """The number of allowed calls of one caller, ``at_once`` of them concurrently."""
    rounds = [await asyncio.gather(*(limits.hit("flooder") for _ in range(at_once))) for _ in range(calls // at_once)]
    return sum(verdict.allowed for verdicts in rounds for verdict in verdicts)


def test_a_flood_over_two_replicas_stays_within_the_limit_and_rarely_calls_redis(redis_url: str) -> None:
    server: Any = redis.Redis.from_url(redis_url.replace("redis+", ""))

    async def both() -> tuple[int, int]:
        replicas = [RateLimits(redis_url, "600/minute", Circuits()) for _ in range(2)]
        before = server.info()["total_commands_processed"]
        allowed = sum(await asyncio.gather(*(flood(limits, 5_000) for limits in replicas)))
        commands = server.info()["total_commands_processed"] - before
        for limits in replicas:
            await limits.close()
        return allowed, commands

    allowed, commands = asyncio.run(both())
    assert 570 <= allowed <= 630
    assert commands < 1_000  # of 10,000 calls


def test_an_outage_of_redis_gives_no_second_allowance(redis_url: str) -> None:
    async def before_and_after() -> int:
        circuits = Circuits()
        limits = RateLimits(redis_url, "600/minute", circuits)
        allowed = await flood(limits, 1_000)
        with suppress(ConnectionError), circuits.calling("redis-limits"):
            raise ConnectionError
        allowed += await flood(limits, 1_000)
        await limits.close()
        return allowed

    assert 570 <= asyncio.run(before_and_after()) <= 630


def test_a_failed_count_of_calls_does_not_stop_the_reading_of_features(redis_url: str) -> None:
    async def counted() -> bool:
        limits = RateLimits(access_world.NO_REDIS, "600/minute", circuits)
        verdict = await limits.hit("desk")
        await limits.close()
        return verdict.allowed

    circuits = Circuits()
    assert asyncio.run(counted())
    with circuits.calling("redis"):
        assert redis.Redis.from_url(redis_url.replace("redis+", "")).ping()
    assert circuits.missing() == ["redis does not answer"]


def test_a_flooding_caller_does_not_degrade_another(store: Engine, redis_url: str) -> None:
    deps = replica(store, redis_url, "600/minute")
    headers, other = caller("flooder"), caller("desk")

    async def flooding(address: str) -> tuple[Counter[int], Counter[int], list[float]]:
        flooded, answered, seconds, end = Counter[int](), Counter[int](), [], time.monotonic() + 3

        async def client(session: httpx2.AsyncClient) -> None:
            while time.monotonic() < end:
                flooded[(await session.get(f"{address}{STATUS}", headers=headers)).status_code] += 1

        async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=100), timeout=20) as session:
            clients = [asyncio.create_task(client(session)) for _ in range(60)]
            while time.monotonic() < end:
                started = time.monotonic()
                answered[(await session.get(f"{address}{STATUS}", headers=other)).status_code] += 1
                seconds.append(time.monotonic() - started)
                await asyncio.sleep(0.1)
            await asyncio.gather(*clients)
        return flooded, answered, seconds

    with served(build_app(deps)) as address:
        flooded, answered, seconds = asyncio.run(flooding(address))
    assert flooded.keys() == {200, 429}
    assert 570 <= flooded[200] <= 630
    assert answered.keys() == {200}
    assert max(seconds) < 10
    assert deps.access.limits is not None
    assert deps.access.limits._circuits.missing() == []
