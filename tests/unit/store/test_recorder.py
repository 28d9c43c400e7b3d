"""The recorder stores every valid record, also after an outage of the store."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from dualcast.adapters.store import forecasts
from dualcast.adapters.store.engine import StoreUnavailableError
from dualcast.adapters.store.forecasts import IssueDay, Span, read_curves
from services.store import recorder
from services.store.recorder import Recorder
from tests import services_world as world

DAYS = [date(2022, 5, day) for day in (3, 4, 5)]
CURVES = [world.day_ahead(day) for day in DAYS]


def no_cache(_: Collection[IssueDay]) -> None:
    return


def kept(store: Engine) -> list[Any]:
    return list(read_curves(store, Span("de_load", "day-ahead")))


def test_a_repeated_record_is_stored_once(store: Engine) -> None:
    records = [curve.to_record() for curve in CURVES]
    for _ in range(2):
        assert Recorder(store, world.frozen(), no_cache).store(records, threading.Event())
    assert kept(store) == CURVES


def test_invalid_records_do_not_block_the_others(store: Engine) -> None:
    no_curve = {"entity_id": "DE"}
    unstorable = world.day_ahead(DAYS[1], entity_id=None)
    unknown_path = CURVES[1].to_record() | {"path": "weekly"}
    records = [CURVES[0].to_record(), no_curve, unknown_path, unstorable.to_record(), CURVES[2].to_record()]
    with capture_logs() as logs:
        assert Recorder(store, world.frozen(), no_cache).store(records, threading.Event())
    assert kept(store) == [CURVES[0], CURVES[2]]
    assert [log["event"] for log in logs] == ["curve refused"] * 3


def test_records_are_stored_when_the_store_is_available_again(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_RETRY_SECONDS", 0.01)
    answers = iter([StoreUnavailableError("down"), StoreUnavailableError("unavailable"), None])

    def save(*arguments: Any) -> int:
        error = next(answers)
        if error is not None:
            raise error
        return forecasts.save(*arguments)

    monkeypatch.setattr(recorder, "save", save)
    with capture_logs() as logs:
        assert Recorder(store, world.frozen(), no_cache).store([CURVES[0].to_record()], threading.Event())
    assert kept(store) == CURVES[:1]
    assert [log["event"] for log in logs] == ["store unavailable"]


def test_an_unavailable_cache_does_not_block_the_recorder(store: Engine) -> None:
    def unavailable(_: Collection[IssueDay]) -> None:
        raise ConnectionError("no Redis")

    with capture_logs() as logs:
        assert Recorder(store, world.frozen(), unavailable).store(
            [curve.to_record() for curve in CURVES], threading.Event()
        )
    assert kept(store) == CURVES
    assert [log["event"] for log in logs] == ["cached days not invalidated"]


def test_a_recorder_stopped_while_the_store_is_unavailable_reports_nothing_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unavailable(*_: Any) -> int:
        raise StoreUnavailableError("down")

    monkeypatch.setattr(recorder, "save", unavailable)
    stop = threading.Event()
    stop.set()
    with capture_logs():
        assert not Recorder(None, world.frozen(), no_cache).store([CURVES[0].to_record()], stop)  # type: ignore[arg-type]
