"""Keys and retention through their commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from dualcast.adapters.lake import lake_paths
from dualcast.adapters.store.forecasts import Span, read_curves, save
from dualcast.adapters.store.keys import digest, list_keys
from dualcast.adapters.store.retention import years_before
from dualcast.adapters.store.tables import AuditRow
from dualcast.adapters.store.trail import append
from dualcast.settings import Settings
from services.commands import app
from tests import services_world as world

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("services.store.commands.load_settings", lambda: settings)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})

    return invoke


def test_a_key_is_printed_once_and_stored_as_a_digest(run: Run, store: Engine) -> None:
    made = run("keys", "create", "desk", "--role", "reader", "--access", "de_load/*", "--days", "30")
    key = made.stdout.strip()
    assert re.fullmatch(r"dck_[0-9a-f]{12}_[\w-]{43}", key)
    (found,) = list_keys(store)
    assert (found.digest, found.access) == (digest(key), ("de_load/*",))
    assert found.expires_at == world.NOW + timedelta(days=30)
    with store.connect() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    _, _, secret = key.split("_", 2)  # which may hold underscores of its own
    shown = run("keys", "list").stdout
    assert found.id in shown
    assert secret not in shown + str(rows)


def test_a_revoked_key_is_invalid_and_still_listed(run: Run, store: Engine) -> None:
    run("keys", "create", "desk", "--role", "reader", "--access", "*/*")
    (key,) = list_keys(store)
    assert run("keys", "revoke", key.id).exit_code == 0
    (key,) = list_keys(store)
    assert not key.is_live(world.NOW)
    assert "revoked 2022-05-03" in run("keys", "list").stdout
    again = run("keys", "revoke", key.id)
    assert (again.exit_code, "no key" in again.stderr) == (1, True)


@pytest.mark.parametrize("access", ["de_load", "de load/*", "/", "a/b/c", "*"])
def test_an_invalid_grant_creates_no_key(run: Run, store: Engine, access: str) -> None:
    assert run("keys", "create", "desk", "--role", "reader", "--access", access).exit_code == 2
    assert list_keys(store) == []


def test_retention_deletes_only_expired_rows(run: Run, store: Engine) -> None:
    day = timedelta(days=1)
    edges = [years_before(world.NOW, years) for years in (2, 7)]
    curves = [world.intraday(edges[0] + age) for age in (-day, timedelta(0), day)]
    save(store, curves, world.NOW)
    append(store, [(AuditRow, call(edge + age)) for edge in edges for age in (-day, day)])
    counted = run("retention", "--dry-run").stdout
    assert len(list(read_curves(store, Span("de_load", "intraday")))) == 3
    deleted = run("retention").stdout
    assert counted.replace("would be ", "") == deleted
    rows = ["forecasts: 1 rows deleted", "predictions: 0 rows deleted", "audit: 1 rows deleted"]
    assert deleted.splitlines()[:3] == rows
    assert list(read_curves(store, Span("de_load", "intraday"))) == curves[1:]
    assert run("retention").stdout.count(": 0 rows") == 3


def test_retention_deletes_expired_days_of_the_lake(run: Run, store: Engine, settings: Settings) -> None:
    first = years_before(world.NOW, 2).date()
    days = [first - timedelta(days=1), first, first + timedelta(days=1)]
    root = Path(lake_paths(settings).forecasts("day-ahead", "de_load"))
    for day in days:
        folder = root / f"issue_date={day.isoformat()}"
        folder.mkdir(parents=True)
        (folder / "part-0.parquet").touch()
    assert "lake, de_load day-ahead: 1 days would be deleted" in run("retention", "--dry-run").stdout
    assert len(list(root.iterdir())) == 3
    assert "lake, de_load day-ahead: 1 days deleted" in run("retention").stdout
    assert sorted(folder.name[-10:] for folder in root.iterdir()) == [day.isoformat() for day in days[1:]]


def test_two_years_before_a_leap_day_is_the_end_of_february() -> None:
    assert years_before(datetime(2024, 2, 29, tzinfo=UTC), 2) == datetime(2022, 2, 28, tzinfo=UTC)


def call(at: datetime) -> dict[str, object]:
    names = ("service", "identity", "address", "method", "path", "trace_id")
    return dict.fromkeys(names, "x") | {
        "at": at,
        "use_case": None,
        "entities": [],
        "status": 200,
        "model_versions": [],
        "latency_ms": 1.5,
    }
