"""The audit trail on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, select
from structlog.testing import capture_logs

from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.keys import list_keys
from dualcast.adapters.store.tables import AuditRow, PredictionRow
from dualcast.adapters.store.trail import append
from dualcast.settings import Settings
from services.access.audit import AuditTrail
from tests import services_world as world

TRACE = "0af7651916cd43dd8448eb211c80319c"


def written(store: Engine, table: type[AuditRow | PredictionRow]) -> list[Any]:
    with store.connect() as connection:
        return list(connection.execute(select(table.__table__).order_by(table.__table__.c.id)))


def call(**more: Any) -> tuple[type[AuditRow], dict[str, Any]]:
    texts: dict[str, Any] = dict.fromkeys(("service", "identity", "address", "method", "path", "trace_id"), "x")
    others = {"at": world.NOW, "use_case": None, "entities": ["DE"], "model_versions": [], "status": 200}
    return AuditRow, texts | others | {"latency_ms": 1.25} | more


def test_concurrent_writers_wait_for_each_other(settings: Settings, store: Engine) -> None:
    def write(number: int) -> None:
        engine = open_store(settings)
        for call_ in range(25):
            append(engine, [call(path=f"{number}/{call_}")] * 4)
            list_keys(engine)
        engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(written(store, AuditRow)) == 4 * 25 * 4


def test_a_computed_curve_is_stored_once_for_the_same_numbers(store: Engine) -> None:
    trail, curve = AuditTrail(store), world.intraday(world.NOW)
    who = {"at": world.NOW, "identity": "jwt:desk", "trace_id": TRACE}
    later = replace(curve, issued_at=curve.issued_at.replace(second=1))
    for forecast in (curve, curve, later, world.intraday(world.NOW, ratio=1.2), curve):
        trail.add_computed(forecast, "previous_version", who)
    trail.start()
    trail.stop()
    kept = written(store, PredictionRow)
    assert [(r.model_version, r.fallback, r.trace_id) for r in kept] == [("1", "previous_version", TRACE)] * 3
    assert kept[0].points["values"] == [p.values for p in curve.points]
    assert (kept[0].issued_at, kept[0].at) == (curve.issued_at, world.NOW)


def test_a_refused_entry_does_not_affect_the_others(store: Engine) -> None:
    trail = AuditTrail(store)
    for entry in (call(path="first"), call(path=None), call(path="last")):
        trail.add(entry)
    with capture_logs():
        trail.start()
        trail.stop()
    found = [(r.path, r.entities, r.latency_ms, r.at) for r in written(store, AuditRow)]
    assert found == [(path, ["DE"], 1.25, world.NOW) for path in ("first", "last")]
    assert trail.spilled == 1
