"""Two namespaces in one database: each has its own tables."""

from __future__ import annotations

from datetime import date

from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.forecasts import IssueDay, read_days, save
from dualcast.adapters.store.migrate import check, migrate
from dualcast.settings import Settings
from tests import services_world as world


def test_curves_of_namespaces_in_one_database_are_separate(settings: Settings) -> None:
    engines = [open_store(settings.model_copy(update={"namespace": name})) for name in ("", "staging", "trial")]
    curve = world.day_ahead(date(2022, 1, 14))
    try:
        for engine in engines:
            migrate(engine)
            check(engine)
        save(engines[1], [curve], world.NOW)
        found = [read_days(engine, [IssueDay.of(curve)], 5)[IssueDay.of(curve)] for engine in engines]
        assert found == [[], [curve], []]
    finally:
        for engine in engines:
            engine.dispose()
