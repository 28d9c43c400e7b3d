"""Migrations of the store's tables, and the check that the store has been migrated."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from dualcast.adapters.store.engine import (
    IMMEDIATE,
    SCHEMA,
    address_without_password,
    driver_errors_translated,
    lift_time_limits,
    transaction,
)
from dualcast.settings import Settings

# Any number that no other program uses for its advisory locks.
_LOCK = 7_314_202_611


class UnmigratedStoreError(RuntimeError):
    """The store is at another revision than this version needs. The message names the command to run."""


def migrate(engine: Engine) -> str:
    """Migrate the store to the newest revision and return its name. A lock serialises concurrent migrations.

    Raises StoreUnavailableError.
    """
    with driver_errors_translated(engine), engine.execution_options(**IMMEDIATE).begin() as connection:
        lift_time_limits(connection)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if schema := engine.get_execution_options().get(SCHEMA):
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return _head_revision()


def check(engine: Engine) -> None:
    """Check that the store is at this version's revision. Raises UnmigratedStoreError, StoreUnavailableError."""
    with transaction(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != _head_revision():
        raise UnmigratedStoreError(
            f"the store {address_without_password(engine)} is at revision {found or 'none'}, "
            f"and this version needs {_head_revision()}: run `dualcast store migrate`"
        )


def make_ready(engine: Engine, settings: Settings) -> None:
    """Migrate the store in the demo; elsewhere only check it, since an operator decides when tables change.

    Raises UnmigratedStoreError, StoreUnavailableError.
    """
    if settings.environment == "demo":
        migrate(engine)
    else:
        check(engine)


def _head_revision() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("dualcast.adapters.store") / "migrations"))
    return config
