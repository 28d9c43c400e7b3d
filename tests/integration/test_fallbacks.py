"""Every fallback with real servers that are killed or hang: the fallback used, the reasons, and the latency."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.store import keys
from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.forecasts import save
from dualcast.adapters.store.migrate import migrate
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.curves.staleness import due_day
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor
from infra.local.state import Phase, StateDir
from models.prediction.model import ForecastModel
from services.da_svc.app import build_app as build_da
from services.da_svc.main import dependencies as da_dependencies
from services.id_svc.app import build_app as build_id
from services.id_svc.main import dependencies as id_dependencies
from tests import services_world as world
from tests.databases import free_port, fresh_database
from tests.intraday_models import broken_copy, publish_champion, stream_rows, train_small_model, with_scaled_intervals
from tests.waiting import until

pytestmark = [
    pytest.mark.stack(own=True),
    # MLflow's own imports and models raise deprecation warnings
    pytest.mark.filterwarnings("ignore"),
]
DAY_AHEAD, INTRADAY = "/api/v1/forecasts/day-ahead/DE", "/api/v1/forecasts/intraday/DE"
# The longest response: the timeout of Redis or of the store, and the delay of a busy machine.
SECONDS_TO_ANSWER = 3.0
SECONDS_TO_RECOVER = 30.0


class ServiceClient(Protocol):
    """Sends a request to a service and checks the response time."""

    def __call__(self, path: str = "", **parameters: str) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def curves(now: datetime, use_case: UseCase, entity: Entity) -> list[Forecast]:
    """Day-ahead curves of all days that are due, one of months ago, and a recent intraday one."""
    due = due_day(use_case, entity, world.settings(world.frozen(now)).clock)
    days = [due - timedelta(days=back) for back in (120, 119, 2, 1, 0)]
    return [*map(world.day_ahead, days), world.intraday(now - timedelta(hours=1))]


@pytest.fixture(scope="module")
def model(use_case: UseCase, entity: Entity) -> ForecastModel:
    return train_small_model(use_case, entity, stream_rows(use_case, entity))


@pytest.fixture(scope="module")
def filled(
    stack: Settings, use_case: UseCase, entity: Entity, model: ForecastModel, curves: list[Forecast], now: datetime
) -> Iterator[Settings]:
    """The stack with a champion, the newest features, and curves on the topics and in the store."""
    publish_champion(stack, model)
    step = use_case.part("intraday").resolution
    row = replace(stream_rows(use_case, entity)[-1], valid_time=floor(now, step), as_of=now)
    OnlineFeatures(stack, "de_load").write([row])
    with RecordProducer(stack, "test") as producer:
        for curve in curves:
            topic = Topic.FORECASTS_INTRADAY if curve.path == "intraday" else Topic.FORECASTS_DAY_AHEAD
            producer.send(topic, "DE", curve, curve.issued_at)
    store_of(stack, curves)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALCAST_RATE_LIMIT", "100000/minute")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # otherwise its failure takes 4 s
        yield stack


def store_of(settings: Settings, curves: list[Forecast]) -> str:
    """Fill a store and create a key, because calls with a key are counted in Redis."""
    engine = open_store(settings)
    migrate(engine)
    save(engine, curves, datetime.now(UTC))
    key = keys.create(engine, "desk", "reader", ["*/*"], datetime.now(UTC), None)[0]
    engine.dispose()
    return key


@contextmanager
def serving(service: str, settings: Settings) -> Iterator[ServiceClient]:
    """A service with all its real adapters, in this process."""
    key = store_of(settings, [])
    app = build_da(da_dependencies(settings)) if service == "da" else build_id(id_dependencies(settings))
    with TestClient(app, headers={"X-API-Key": key}, raise_server_exceptions=False) as client:

        def ask(path: str = "", **parameters: str) -> dict[str, Any]:
            started = time.monotonic()
            answer = client.get(path or (DAY_AHEAD if service == "da" else INTRADAY), params=parameters)
            assert time.monotonic() - started < SECONDS_TO_ANSWER, f"{path} {parameters} took too long"
            body: dict[str, Any] = answer.json() | {"code": answer.status_code}
            return body

        yield ask


@pytest.fixture(scope="module")
def id_svc(filled: Settings) -> Iterator[ServiceClient]:
    with serving("id", filled) as ask:
        until(lambda: ask().get("fallback", "nothing") is None and is_fully_available(ask), SECONDS_TO_RECOVER)
        yield ask


@pytest.fixture(scope="module")
def da_svc(filled: Settings) -> Iterator[ServiceClient]:
    with serving("da", filled) as ask:
        until(lambda: ask()["code"] == 200 and is_fully_available(ask), SECONDS_TO_RECOVER)
        yield ask


def is_fully_available(ask: ServiceClient) -> bool:
    """Whether a service has caught up with all its topics, and every server responds."""
    return bool(ask("/health/ready").get("missing") == [])


def pid_of(settings: Settings, component: str) -> int:
    status = StateDir(settings.state_dir).live_status().components[component]
    assert status.phase == Phase.HEALTHY
    assert status.pid is not None
    return status.pid


def archived(curve: Forecast) -> dict[str, str]:
    return {"delivery_date": (curve.issued_at.date() + timedelta(days=1)).isoformat()}


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_both_services_use_fallbacks_and_report_it_while_redis_is_unavailable(
    filled: Settings, id_svc: ServiceClient, da_svc: ServiceClient, curves: list[Forecast], blow: signal.Signals
) -> None:
    until(lambda: id_svc()["fallback"] is None, SECONDS_TO_RECOVER)
    pid = pid_of(filled, "redis")
    os.killpg(pid, blow)
    try:
        started = time.monotonic()
        answers = [id_svc() for _ in range(20)]
        seconds = time.monotonic() - started
        health = id_svc("/health/ready")
        old = da_svc(**archived(curves[0]))
        limited = da_svc("/api/v1/status")
    finally:
        if blow == signal.SIGSTOP:
            os.killpg(pid, signal.SIGCONT)
    assert {(a["code"], a["fallback"], a["degraded"]) for a in answers} == {(200, "shifted_day_ahead", True)}
    assert all("the feature store is unavailable" in a["degraded_reasons"] for a in answers)
    # only the first request waited for Redis
    assert seconds < SECONDS_TO_ANSWER
    assert (health["ready"], health["missing"]) == (True, ["redis does not answer"])
    assert (old["code"], old["issued_at"]) == (200, curves[0].issued_at.isoformat().replace("+00:00", "Z"))
    assert limited["code"] == 200
    until(lambda: id_svc()["fallback"] is None, SECONDS_TO_RECOVER)
    until(lambda: is_fully_available(id_svc), SECONDS_TO_RECOVER)


def test_the_previous_version_is_used_if_the_champion_is_broken(filled: Settings, model: ForecastModel) -> None:
    good, broken = (
        publish_champion(filled, with_scaled_intervals(model, 1.5)),
        publish_champion(filled, broken_copy(model)),
    )
    with serving("id", filled) as ask:
        until(lambda: ask().get("fallback") == "previous_version", SECONDS_TO_RECOVER)
        body, status = ask(), ask("/api/v1/status")
        assert (body["model"]["version"], body["degraded"]) == (good, True)
        assert {"fallback: previous_version", "no champion model is loaded"} <= set(body["degraded_reasons"])
        assert [r["version"] for r in status["refused"] if r["alias"] == "champion"] == [broken]
        mended = publish_champion(filled, model)
        until(lambda: ask()["fallback"] is None, SECONDS_TO_RECOVER)
        assert ask()["model"]["version"] == mended


def test_without_the_registry_loaded_models_or_the_shifted_day_ahead_curve_are_used(
    filled: Settings, id_svc: ServiceClient, tmp_path: Path
) -> None:
    away = filled.model_copy(update={"mlflow": f"http://127.0.0.1:{free_port()}"})
    with serving("id", away) as ask:
        until(lambda: ask()["fallback"] is None, SECONDS_TO_RECOVER)
        until(
            lambda: ask("/health/ready") == {"code": 200, "ready": True, "missing": ["registry does not answer"]},
            SECONDS_TO_RECOVER,
        )
    store = SecretStr(filled.store_url)
    with serving("id", away.model_copy(update={"state_dir": tmp_path, "store": store})) as ask:
        until(lambda: ask()["code"] == 200, SECONDS_TO_RECOVER)
        body, health = ask(), ask("/health/ready")
    assert (body["fallback"], body["degraded"]) == ("shifted_day_ahead", True)
    assert "no champion model is loaded" in body["degraded_reasons"]
    assert health["ready"]
    assert "no model is loaded" in health["missing"]
    os.killpg(pid_of(filled, "mlflow"), signal.SIGKILL)
    until(lambda: "registry does not answer" in id_svc("/health/ready")["missing"], SECONDS_TO_RECOVER)
    assert id_svc()["fallback"] is None


@pytest.mark.parametrize(
    ("known", "day_ahead", "intraday"),
    [
        ("all", (200, False, None), (200, "shifted_day_ahead")),
        ("older", (200, True, "last_stored"), (200, "last_stored")),
        ("nothing", (503, None, None), (503, None)),
    ],
)
def test_a_service_starts_with_the_store_alone_and_serves_its_curves(
    filled: Settings,
    curves: list[Forecast],
    tmp_path: Path,
    known: str,
    day_ahead: tuple[Any, ...],
    intraday: tuple[Any, ...],
) -> None:
    taken = {"all": curves, "older": [*curves[:3], curves[-1]], "nothing": []}[known]
    away = {name: f"127.0.0.1:{free_port()}" for name in ("kafka", "mlflow", "redis", "registry")}
    dark = filled.model_copy(
        update={
            "kafka": away["kafka"],
            "mlflow": f"http://{away['mlflow']}",
            "registry": f"http://{away['registry']}",
            "redis": f"redis://{away['redis']}/0",
            "store": SecretStr(f"sqlite:///{tmp_path / 'store.db'}"),
        }
    )
    store_of(dark, taken)
    with serving("da", dark) as ask:
        until(lambda: tuple(ask().get(name) for name in ("code", "stale", "fallback")) == day_ahead, SECONDS_TO_RECOVER)
        assert "forecasts.day_ahead.v1 is connecting" in str(ask("/health/ready"))
    with serving("id", dark) as ask:
        until(lambda: tuple(ask().get(name) for name in ("code", "fallback")) == intraday, SECONDS_TO_RECOVER)
        if intraday[1] is None:
            assert "no stored curve reaches the coming interval" in ask()["detail"]


def test_a_hanging_store_affects_only_curves_that_are_nowhere_else(
    filled: Settings, curves: list[Forecast], postgres_server: str
) -> None:
    url = fresh_database(postgres_server, "fallbacks")
    settings = filled.model_copy(update={"store": SecretStr(url)})
    store_of(settings, curves)
    server = postmaster(url)
    with serving("da", settings) as ask:
        until(lambda: ask()["code"] == 200 and is_fully_available(ask), SECONDS_TO_RECOVER)
        assert ask(**archived(curves[0]))["code"] == 200
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            assert (ask()["code"], ask()["stale"]) == (200, False)
            in_redis = ask(**archived(curves[0]))
            unread = [ask(delivery_date="2024-02-03") for _ in range(5)]
            health = ask("/health/ready")
        finally:
            for process in processes:
                process.resume()
        assert in_redis["code"] == 200
        assert {(a["code"], a["type"]) for a in unread} == {(503, "urn:dualcast:problem:archive-unavailable")}
        assert (health["ready"], health["missing"]) == (True, ["store does not answer"])
        until(lambda: ask(delivery_date="2024-02-03")["code"] == 404, SECONDS_TO_RECOVER)


def postmaster(url: str) -> psutil.Process:
    with psycopg.connect(url) as connection:
        found = connection.execute("SHOW data_directory").fetchone()
    assert found is not None
    return psutil.Process(int(Path(found[0], "postmaster.pid").read_text().split()[0]))
