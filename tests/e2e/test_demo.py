"""The whole platform, as ``make demo`` runs it, on a short simulated replay: its results after the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import pandas as pd
import psutil
import pytest
from playwright.sync_api import Browser, expect

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.readers import published_forecasts
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings, load_settings
from infra.local.state import StateDir
from infra.local.supervision import processes
from tests.client_example import run_client_example
from tests.demo_process import READY, demo

pytestmark = [pytest.mark.stack, pytest.mark.e2e, pytest.mark.timeout(1200)]

DAYS = 2


@dataclass(frozen=True)
class World:
    """A demo whose replay has ended and whose services still run."""

    settings: Settings
    exports: Path
    output: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state = tmp_path_factory.mktemp("demo") / "state"
    with demo(state, DAYS) as running:
        output = running.read_until(READY)
        yield World(load_settings(), state / "exports", output)
    assert _processes_that_name(state) == [], "no process is left"


def _processes_that_name(folder: Path) -> list[str]:
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}  # such as the browser
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = [*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()]
        if process.pid not in ours and any(str(folder) in word for word in words):
            found.append(" ".join(process.info["cmdline"] or ()))
    return found


def _listening(process: psutil.Process) -> Iterator[str]:
    """The addresses at which a process accepts connections, with its name."""
    try:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield f"{connection.laddr.ip} {process.name()}"
    except psutil.NoSuchProcess:
        return


def _is_loopback(text: str) -> bool:
    address = ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)  # a socket of IPv6 that takes IPv4, as Java opens them
    return (mapped or address).is_loopback


def test_no_port_of_the_whole_stack_listens_beyond_loopback(world: World) -> None:
    supervisor = StateDir(world.settings.state_dir).supervisor_pid()
    assert supervisor is not None
    found = [at for process in processes.tree(supervisor) for at in _listening(process)]
    assert {"java", "redis-server", "dualcast"} <= {at.split()[1] for at in found}, found
    assert [at for at in found if not _is_loopback(at.split()[0])] == []


def _get(settings: Settings, service: str, path: str) -> dict[str, Any]:
    answer = httpx2.get(f"{getattr(settings, service)}/api/v1/{path}", timeout=10)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_every_delivery_day_has_one_complete_curve_on_kafka(world: World, use_case: UseCase) -> None:
    curves = list(published_forecasts(world.settings, Topic.FORECASTS_DAY_AHEAD))
    entity = use_case.entities[0]
    assert len(curves) >= DAYS
    assert len({c.key for c in curves}) == len(curves), "a curve was published twice"
    for curve in curves:
        times = [p.valid_time for p in curve.points]
        day = times[0].astimezone(ZoneInfo(entity.time_zone)).date()
        assert times == use_case.delivery_times(entity, day)
        assert curve.issued_at == use_case.cutoff(entity, day)
        assert curve.newest_input_at < curve.issued_at
        assert curve.simulated


def test_intraday_curves_on_kafka_are_consecutive(world: World, use_case: UseCase) -> None:
    curves = sorted(published_forecasts(world.settings, Topic.FORECASTS_INTRADAY), key=lambda c: c.issued_at)
    assert len({c.key for c in curves}) == len(curves), "a curve was published twice"
    assert len(curves) > 0.9 * DAYS * 96
    assert all(len(c.points) == use_case.part("intraday").horizons for c in curves)
    steps = [(b.issued_at - a.issued_at) for a, b in pairwise(curves)]
    assert np.median([s.total_seconds() for s in steps]) == 900


@pytest.mark.parametrize("path", ["day-ahead", "intraday"])
def test_exported_forecasts_are_valid(world: World, path: str) -> None:
    frame = pd.read_parquet(world.exports / f"{path}.parquet")
    assert not frame.duplicated(["entity_id", "issued_at", "valid_time"]).any()
    assert (frame["issued_at"] <= frame["valid_time"]).all()
    values = frame[["q10", "q50", "q90"]].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()


def test_the_lake_contains_the_day_ahead_curves(world: World) -> None:
    folder = Path(world.settings.lake_uri) / "forecasts" / "path=day_ahead"
    stored = pd.read_parquet(folder)
    exported = pd.read_parquet(world.exports / "day-ahead.parquet")
    assert len(stored) == len(exported)


def test_forecast_errors_are_within_the_limits_for_simulated_data(world: World, use_case: UseCase) -> None:
    for path, limit in (("day-ahead", 4.0), ("intraday", 2.0)):
        frame = pd.read_parquet(world.exports / f"{path}.parquet")
        actuals = pd.read_parquet(world.exports / f"{path}-actuals.parquet").set_index("valid_time")[use_case.target]
        true = frame["valid_time"].map(actuals)
        assert true.notna().mean() > 0.6, path  # the newest day has no actuals yet
        error = ((frame["q50"] - true) / true).abs().mean() * 100
        assert error < limit, path


def test_redis_contains_the_newest_features(world: World, use_case: UseCase) -> None:
    entity_id = use_case.entities[0].id
    row = OnlineFeatures(world.settings, use_case.use_case).read([entity_id])[entity_id]
    assert row is not None
    until = world.settings.clock.until
    assert until is not None
    assert (until - row.as_of).total_seconds() <= 3600


def test_both_services_return_forecasts(world: World, use_case: UseCase) -> None:
    entity_id = use_case.entities[0].id
    day_ahead = _get(world.settings, "da_svc", f"forecasts/day-ahead/{entity_id}")
    assert len(day_ahead["points"]) in {23, 24, 25}
    assert day_ahead["fallback"] is None
    intraday = _get(world.settings, "id_svc", f"forecasts/intraday/{entity_id}")
    assert intraday["fallback"] is None
    assert intraday["model"]["name"] == f"model_id_{use_case.use_case}"


def test_the_client_reads_forecasts_of_both_services(world: World) -> None:
    shown = run_client_example(world.settings.da_svc, world.settings.id_svc)
    assert "404 unknown-entity" in shown


def test_the_page_draws_both_forecasts(world: World, browser: Browser) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(world.settings.da_svc)
    page.wait_for_selector("body[data-state=shown]", timeout=30_000)
    expect(page.get_by_text("Simulated data")).to_be_visible()
    for chart, name in (("day-ahead-chart", "Day-ahead"), ("intraday-chart", "Intraday")):
        points = page.evaluate(f"document.getElementById('{chart}').data.find(t => t.name === '{name}').y.length")
        assert points >= 24
    assert complaints == []
    page.close()


def test_the_terminal_shows_errors_duration_and_memory(world: World) -> None:
    for expected in ("day-ahead", "intraday", "first forecasts of both paths after", "peak memory"):
        assert expected in world.output
