"""Migrations on both databases: they create the tables of the code, and a service does not start without them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect

from dualcast.adapters.store.engine import StoreUnavailableError, open_store
from dualcast.adapters.store.migrate import UnmigratedStoreError, check, make_ready, migrate
from dualcast.adapters.store.tables import Base
from dualcast.settings import Settings
from tests import services_world as world


def test_the_migrations_create_the_tables_of_the_code(store: Engine) -> None:
    with store.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert set(inspect(store).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_concurrent_migrations_are_safe(settings: Settings, empty: Engine) -> None:
    engines = [open_store(settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        revisions = set(pool.map(migrate, engines))
    assert len(revisions) == 1
    check(empty)
    for engine in engines:
        engine.dispose()


def test_in_production_an_unmigrated_store_is_refused(settings: Settings, empty: Engine) -> None:
    production = settings.model_copy(update={"environment": "production"})
    with pytest.raises(UnmigratedStoreError, match="run `dualcast store migrate`"):
        make_ready(empty, production)
    assert inspect(empty).get_table_names() == []
    migrate(empty)
    make_ready(empty, production)


def test_the_demo_migrates_its_store(settings: Settings, empty: Engine) -> None:
    make_ready(empty, settings)
    check(empty)


def test_the_error_for_an_unavailable_store_hides_the_password() -> None:
    engine = open_store(world.settings(world.frozen(), store="postgresql://dualcast:very-secret@127.0.0.1:1/dualcast"))
    with pytest.raises(StoreUnavailableError) as raised:
        check(engine)
    assert "127.0.0.1:1" in str(raised.value)
    assert "very-secret" not in str(raised.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="sqlite:///"):
        open_store(world.settings(world.frozen(), store="mysql://root@127.0.0.1/x"))
