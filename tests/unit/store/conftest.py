"""Stores on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.migrate import migrate
from dualcast.settings import Settings
from tests import services_world as world
from tests.databases import fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose store is an empty database: SQLite or PostgreSQL."""
    if request.param == "sqlite":
        return world.settings(world.frozen(), state_dir=tmp_path)
    url = fresh_database(request.getfixturevalue("postgres_server"), uuid4().hex)
    return world.settings(world.frozen(), state_dir=tmp_path, store=url)


@pytest.fixture
def empty(settings: Settings) -> Iterator[Engine]:
    """A store without tables."""
    engine = open_store(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def store(empty: Engine) -> Engine:
    """A store with its tables."""
    migrate(empty)
    return empty
