"""Old curves from Redis and the store: read once for concurrent requests, and current after every new curve."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx2
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy import Engine

from dualcast.adapters.store import redis_curves
from dualcast.adapters.store.forecasts import IssueDay, save
from dualcast.adapters.store.redis_curves import RedisCurves
from dualcast.catalogue import load_use_case
from dualcast.curves.forecast import Forecast
from services import circuits
from services.api.schemas.curves import DayAheadForecast, IssuedForecasts
from services.book.archive import Days, Issues, Level, NoCurveError, levels_of
from services.book.curves import CurveCache
from services.book.warming import warming
from services.da_svc.app import build_app
from services.da_svc.deps import DayAheadDeps
from services.da_svc.selection import select
from services.store.recorder import Recorder
from tests import access_world
from tests import services_world as world
from tests.unit.services.fake_id_svc import filled_id_service

DAY_AHEAD, INTRADAY = "/api/v1/forecasts/day-ahead", "/api/v1/forecasts/intraday"
DAY = date(2022, 1, 15)
NOON = datetime(2022, 1, 14, 12, 0, tzinfo=UTC)


@pytest.fixture
def redis(redis_url: str) -> str:
    return redis_url.replace("redis+", "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    """A store with five days of both paths, months before now."""
    with access_world.store(tmp_path) as engine:
        save(engine, old_curves(), NOON)
        yield engine


@cache
def old_curves() -> list[Forecast]:
    day_ahead = [world.day_ahead(DAY + timedelta(days=i)) for i in range(-2, 3)]
    return [*day_ahead, *(world.intraday(NOON + timedelta(minutes=15 * i)) for i in range(-100, 10))]


@pytest.fixture
def deps(store: Engine, redis: str) -> DayAheadDeps:
    """da-svc with the curves of a day in memory, and with Redis and the store."""
    return with_levels(levels_of(redis, store))


def with_levels(levels: list[Level]) -> DayAheadDeps:
    found = world.da_deps()
    deps = replace(found, archive_levels=levels)
    world.fill(deps, days=1)
    return deps


def client_of(deps: DayAheadDeps) -> TestClient:
    return TestClient(build_app(deps), raise_server_exceptions=False)


def numbers(curve: dict[str, Any]) -> list[list[float]]:
    return [list(point["quantiles"].values()) for point in curve["points"]]


def test_an_old_delivery_day_is_returned_as_published(deps: DayAheadDeps) -> None:
    client = client_of(deps)
    asked = {"delivery_date": DAY.isoformat()}
    first, second = (client.get(f"{DAY_AHEAD}/DE", params=asked) for _ in range(2))
    DayAheadForecast.model_validate_json(first.content)
    assert numbers(first.json()) == [p.values for p in world.day_ahead(DAY).points]
    assert (first.json()["delivery_date"], first.json()["stale"]) == ("2022-01-15", False)
    assert second.json() == first.json()
    days = {outcome: deps.archive.reads["redis", outcome] for outcome in ("hit", "miss", "unavailable")}
    assert (days, deps.archive.reads["store", "hit"]) == ({"hit": 3, "miss": 3, "unavailable": 0}, 3)
    assert client.get(f"{DAY_AHEAD}/DE", headers={"If-None-Match": first.headers["etag"]}, params=asked).content == b""
    lines = client.get(f"{DAY_AHEAD}/DE", params=asked | {"format": "csv"}).text.splitlines()
    table = pq.read_table(io.BytesIO(client.get(f"{DAY_AHEAD}/DE", params=asked | {"format": "parquet"}).content))
    medians = [values[1] for values in numbers(first.json())]
    assert [float(line.split(",")[4]) for line in lines[1:]] == table["q50"].to_pylist() == medians


def test_as_of_an_old_moment_selects_the_newest_curve_at_that_moment(deps: DayAheadDeps) -> None:
    client = client_of(deps)
    newest = client.get(f"{DAY_AHEAD}/DE", params={"as_of": "2022-01-14T13:00:00+01:00"}).json()
    assert newest["delivery_date"] == "2022-01-15"
    before = client.get(f"{DAY_AHEAD}/DE", params={"as_of": "2022-01-14T09:00:00Z"}).json()
    assert before["delivery_date"] == "2022-01-14"
    asked = {"as_of": "2022-01-14T12:20:00Z"}
    for answer in (client.get(f"{INTRADAY}/DE", params=asked), filled(deps).get(f"{INTRADAY}/DE", params=asked)):
        assert answer.json()["issued_at"] == "2022-01-14T12:15:00Z"
    for path in (DAY_AHEAD, INTRADAY):
        assert client.get(f"{path}/DE", params={"as_of": "2021-06-01T00:00:00Z"}).status_code == 404


def filled(deps: DayAheadDeps) -> TestClient:
    """id-svc with the same Redis and store."""
    id_service = filled_id_service()
    id_service.app.state.deps.archive = deps.archive
    return id_service.client


def test_lists_and_predict_return_old_curves(deps: DayAheadDeps) -> None:
    client = client_of(deps)
    body = client.get(DAY_AHEAD, params={"entity_id": ["DE", "XX"], "delivery_date": DAY.isoformat()}).json()
    assert [f["delivery_date"] for f in body["forecasts"]] == ["2022-01-15"]
    assert [p["status"] for p in body["problems"]] == [404]
    asks = [{"entity_id": "DE", "forecast_date": day} for day in ("2022-01-15", "2022-05-03", "2021-01-15")]
    results = client.post("/api/v1/predict/batch", json={"requests": asks}).json()["results"]
    assert [r["forecast"] and r["forecast"]["delivery_date"] for r in results[:2]] == ["2022-01-15", "2022-05-03"]
    assert results[2]["problem"]["status"] == 404


@pytest.mark.parametrize("limit", [7, 100])
def test_old_issues_are_returned_page_by_page(deps: DayAheadDeps, limit: int) -> None:
    client = client_of(deps)
    asked: dict[str, Any] = {"from": "2022-01-13T22:00:00Z", "to": "2022-01-14T10:00:00Z", "limit": limit}
    moments, cursor = [], None
    while True:
        page = client.get(f"{INTRADAY}/DE/issued", params=asked | ({"cursor": cursor} if cursor else {}))
        found = IssuedForecasts.model_validate_json(page.content)
        moments += [curve.issued_at for curve in found.forecasts]
        cursor = found.next_cursor
        if cursor is None:
            break
    # the first curve that reaches the window was issued six hours before it
    start = datetime(2022, 1, 13, 16, 15, tzinfo=UTC)
    assert moments == [start + timedelta(minutes=15 * i) for i in range(71)]
    asked = {"from": "2022-01-13T00:00:00Z", "to": "2022-01-16T00:00:00Z", "cursor": "9" * 60}
    assert client.get(f"{DAY_AHEAD}/DE/issued", params=asked).json()["forecasts"] == []


def test_issues_from_archive_and_memory_are_complete_and_unique(store: Engine, redis: str) -> None:
    moments = [world.NOW - timedelta(days=15) + timedelta(hours=i) for i in range(48)]
    save(store, [world.intraday(moment) for moment in moments], NOON)
    deps = replace(world.da_deps(), archive_levels=levels_of(redis, store))
    for moment in moments[20:]:
        deps.curves.add(world.intraday(moment))
    window: dict[str, Any] = {"from": moments[6].isoformat(), "to": moments[-1].isoformat(), "limit": 500}
    found = client_of(deps).get(f"{INTRADAY}/DE/issued", params=window).json()["forecasts"]
    assert [datetime.fromisoformat(f["issued_at"]) for f in found] == moments[1:-1]


def test_a_new_curve_is_returned_by_every_replica_at_once(store: Engine, redis: str) -> None:
    replicas = [client_of(with_levels(levels_of(redis, store))) for _ in range(2)]
    asked = {"delivery_date": DAY.isoformat()}
    versions = [client.get(f"{DAY_AHEAD}/DE", params=asked).json()["model"]["version"] for client in replicas]
    again = world.day_ahead(DAY, model_version="2")
    again = replace(again, issued_at=again.issued_at + timedelta(minutes=5))
    recorder = Recorder(store, world.frozen(), RedisCurves(redis).invalidate)
    assert recorder.store([again.to_record()], threading.Event())
    versions += [client.get(f"{DAY_AHEAD}/DE", params=asked).json()["model"]["version"] for client in replicas]
    assert versions == ["1", "1", "2", "2"]


def test_archived_curves_are_not_kept_in_memory(store: Engine, redis: str) -> None:
    client = client_of(replace(world.da_deps(), archive_levels=levels_of(redis, store)))
    asked, newest = {"delivery_date": "2022-05-04"}, world.day_ahead(date(2022, 5, 4))
    recorder = Recorder(store, world.frozen(), RedisCurves(redis).invalidate)
    versions = []
    for version in ("1", "2"):
        assert recorder.store([replace(newest, model_version=version).to_record()], threading.Event())
        versions.append(client.get(f"{DAY_AHEAD}/DE", params=asked).json()["model"]["version"])
    assert versions == ["1", "2"]


def test_curves_read_before_an_invalidation_are_not_cached(redis: str) -> None:
    shared, curve = RedisCurves(redis), world.day_ahead(DAY)
    day = IssueDay.of(curve)
    shared.invalidate([day])
    shared.fill({day: [curve]})
    assert shared.read([day]) == {}
    Redis.from_url(redis).flushall()
    shared.fill({day: [curve]})
    assert shared.read([day]) == {day: [curve]}


def test_a_day_without_curves_is_looked_up_again_soon(deps: DayAheadDeps, redis: str) -> None:
    client_of(deps).get(f"{DAY_AHEAD}/DE", params={"delivery_date": "2021-11-01"})
    client_of(deps).get(f"{DAY_AHEAD}/DE", params={"delivery_date": DAY.isoformat()})
    known = Redis.from_url(redis)
    seconds = {key.decode().split(":")[-2]: cast("int", known.ttl(key)) for key in known.scan_iter("dualcast:curves:*")}
    assert 0 < seconds["2021-10-30"] <= redis_curves._KEPT_EMPTY_SECONDS
    assert seconds["2022-01-14"] > redis_curves._KEPT_EMPTY_SECONDS


class HangingLevel:
    """A level whose reads hang until ``go`` is set."""

    def __init__(self, curves: list[Forecast]) -> None:
        self.reads = 0
        self.go = threading.Event()
        self._curves = curves

    def read(self, days: Collection[IssueDay]) -> Days:
        self.reads += 1
        self.go.wait(10)
        return {day: [curve for curve in self._curves if IssueDay.of(curve) == day] for day in days}


def test_equal_concurrent_requests_share_one_read_and_a_cancelled_one_does_not_affect_the_others() -> None:
    slow = HangingLevel([world.day_ahead(DAY)])
    deps = with_levels([Level("store", 5, slow.read)])
    wanted = [Issues("de_load", "day-ahead", "DE", DAY - timedelta(days=2), DAY)]

    async def many() -> list[Any]:
        asked = [asyncio.create_task(deps.archive.book(wanted)) for _ in range(20)]
        await asyncio.sleep(0.05)
        asked[0].cancel()
        slow.go.set()
        return await asyncio.gather(*asked[1:])

    books = asyncio.run(many())
    assert slow.reads == 1
    assert [book.day_ahead("de_load", "DE", DAY) is not None for book in books] == [True] * 19


def test_a_hanging_store_delays_one_request_and_none_that_memory_can_answer() -> None:
    slow = HangingLevel([])
    deps = with_levels([Level("store", 0.3, slow.read)])
    client, started = client_of(deps), time.monotonic()
    answers = [client.get(f"{DAY_AHEAD}/DE", params={"delivery_date": f"2022-01-{day}"}) for day in range(10, 20)]
    assert time.monotonic() - started < 2
    slow.go.set()
    assert slow.reads == 1
    assert {(a.status_code, a.json()["type"], a.headers["retry-after"]) for a in answers} == {
        (503, "urn:dualcast:problem:archive-unavailable", "5")
    }
    assert client.get(f"{DAY_AHEAD}/DE").status_code == 200
    assert client.get("/health/ready").json() == {"ready": True, "missing": ["store does not answer"]}
    failed = {c["server"]: c["failed"] for c in client.get("/api/v1/status").json()["circuits"]}
    assert failed == {"redis": False, "store": True, "registry": False}
    listed = client.get(DAY_AHEAD, params={"delivery_date": "2022-01-15"}).json()
    assert [p["status"] for p in listed["problems"]] == [503]


def test_redis_is_read_while_all_threads_of_the_store_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(circuits._PAUSE_SECONDS, "store", 0)
    slow, known = HangingLevel([]), HangingLevel([world.day_ahead(DAY)])
    known.go.set()
    held = {IssueDay("de_load", "day-ahead", "DE", DAY - timedelta(days=i)) for i in range(3)}
    deps = with_levels([Level("redis", 1, lambda days: known.read(held & set(days))), Level("store", 0.05, slow.read)])
    client = client_of(deps)
    for day in range(20, 30):
        assert client.get(f"{DAY_AHEAD}/DE", params={"delivery_date": f"2022-01-{day}"}).status_code == 503
    assert client.get(f"{DAY_AHEAD}/DE", params={"delivery_date": DAY.isoformat()}).status_code == 200
    slow.go.set()


def test_a_flood_of_old_curves_opens_no_circuit_and_leaves_requests_that_memory_can_answer() -> None:
    def read(_: Collection[IssueDay]) -> Days:
        time.sleep(0.5)
        return {}

    deps = with_levels([Level("store", 1.8, read)])

    async def flood() -> Counter[int]:
        transport = httpx2.ASGITransport(build_app(deps))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as session:
            old = [session.get(f"{DAY_AHEAD}/DE?delivery_date=2022-01-{day:02}") for day in range(1, 29)]
            flooding = asyncio.gather(*old)
            await asyncio.sleep(0.02)
            assert (await session.get(f"{DAY_AHEAD}/DE")).status_code == 200
            assert not flooding.done(), "the answer from memory came before those of the flood"
            return Counter(answer.status_code for answer in await flooding)

    statuses = asyncio.run(flood())
    assert statuses.keys() == {404, 503}, "four threads read in turn, and the others gave up"
    assert deps.circuits.missing() == []


def test_unreadable_redis_entries_are_read_from_the_store(deps: DayAheadDeps, redis: str) -> None:
    day = IssueDay("de_load", "day-ahead", "DE", DAY - timedelta(days=1))
    for text in (b'[{"use_case": "de_load"}]', b"\x80garbage"):
        Redis.from_url(redis).set(RedisCurves(redis)._key(day), text)
        answer = client_of(deps).get(f"{DAY_AHEAD}/DE", params={"delivery_date": DAY.isoformat()})
        assert answer.json()["delivery_date"] == "2022-01-15"


def test_without_redis_curves_are_read_from_the_store(store: Engine) -> None:
    deps = with_levels(levels_of(access_world.NO_REDIS, store))
    assert client_of(deps).get(f"{DAY_AHEAD}/DE", params={"delivery_date": DAY.isoformat()}).status_code == 200
    assert deps.archive.reads["redis", "unavailable"] == 3


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland"])
@pytest.mark.parametrize("name", ["de_load", "warehouses"])
def test_all_issue_days_that_may_contain_a_delivery_day_are_read(name: str, zone: str) -> None:
    use_case = load_use_case(name, world.USE_CASES)
    entity = use_case.entities[0].model_copy(update={"time_zone": zone})
    for day in (date(2022, 1, 1), date(2022, 3, 27), date(2022, 10, 30)):
        with pytest.raises(NoCurveError) as missed:
            select(CurveCache({name: use_case}), use_case, entity, world.frozen(datetime(2023, 1, 1, tzinfo=UTC)), day)
        looked_for = {d.day for d in missed.value.issues.days()}
        firsts = [day - timedelta(days=back) for back in range(use_case.day_ahead.days)]
        assert {use_case.cutoff(entity, first).date() for first in firsts} <= looked_for
        assert len(looked_for) <= len(firsts) + 2


def test_memory_is_filled_from_the_store_without_replacing_curves_of_the_feeds(store: Engine) -> None:
    clock = world.frozen(NOON + timedelta(days=2))
    deps = world.da_deps(clock)
    deps.curves.add(world.day_ahead(DAY, model_version="2"))
    deps.curves.add(world.intraday(NOON, model_version="2"))
    worker = warming(store, deps.catalogue, deps.curves, clock)
    worker._work(threading.Event())
    held = deps.curves.days("de_load", "DE")
    assert [(c.delivery_day - DAY).days for c in held] == [-2, -1, 0, 1, 2]
    assert [c.forecast.model_version for c in held] == ["1", "1", "2", "1", "1"]
    tracks = deps.curves.intraday_tracks("de_load", "DE")
    assert [t.issued_at for t in tracks] == [NOON + timedelta(minutes=15 * i) for i in range(-100, 10)]
    assert [t.head.model_version for t in tracks if t.issued_at == NOON] == ["2"]
    assert client_of(deps).get(f"{INTRADAY}/DE").json()["issued_at"] == "2022-01-14T14:15:00Z"


def test_access_is_checked_for_archived_curves_that_others_have_requested(deps: DayAheadDeps, store: Engine) -> None:
    deps.access = access_world.access(store, background=[])
    client, asked = client_of(deps), {"delivery_date": DAY.isoformat()}
    keys = [access_world.key(store, "reader", grant) for grant in ("de_load/DE", "de_load/XX", "es_load/*")]
    assert deps.access.keys is not None
    deps.access.keys.read()
    statuses = [client.get(f"{DAY_AHEAD}/DE", params=asked, headers={"X-API-Key": key}).status_code for key in keys]
    assert statuses == [200, 403, 403]
