"""Connections to the store: SQLite with a write-ahead log in the embedded stack, PostgreSQL elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stamina
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry

from dualcast.namespace import NO_NAMESPACE, Namespace
from dualcast.settings import Settings

# Only adapters import SQLAlchemy: other packages that use the store import its types from here.
__all__ = ["DBAPIError", "Engine", "StatementError", "make_url"]

_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 60
_LOCK_SECONDS = 10
# Execution option of an engine: the schema of a namespace, which the first migration creates.
SCHEMA = "dualcast_schema"
# Execution option of a transaction that reads before it writes: SQLite refuses it where another wrote in between.
IMMEDIATE = {"sqlite_begin": "BEGIN IMMEDIATE"}


class StoreUnavailableError(ConnectionError):
    """The store is unavailable; a later attempt may succeed."""


def open_store(settings: Settings) -> Engine:
    """An engine of the configured store. It connects at its first use. Raises ValueError as ``open_url`` does."""
    return open_url(make_url(settings.store_url), settings.names)


def open_url(url: URL, names: Namespace = NO_NAMESPACE) -> Engine:
    """An engine with the timeouts set. Raises ValueError where the URL is neither of SQLite nor of PostgreSQL."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite(_named_file(url, names))
    if backend != "postgresql":
        raise ValueError(f"a store is sqlite:///... or postgresql://..., not {backend}")
    timeouts = f"-c statement_timeout={_STATEMENT_SECONDS}s -c lock_timeout={_LOCK_SECONDS}s -c timezone=UTC"
    if names.sql_schema:
        timeouts += f" -c search_path={names.sql_schema}"
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=5,
        pool_timeout=_CONNECT_SECONDS,
        connect_args={"connect_timeout": _CONNECT_SECONDS, "options": timeouts, "application_name": "dualcast"},
        execution_options={SCHEMA: names.sql_schema},
    )


def address_without_password(engine: Engine) -> str:
    """The store's address for messages, without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def driver_errors_translated(engine: Engine) -> Iterator[None]:
    """Raise StoreUnavailableError, without the values of the statement, for a driver's connection errors."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailableError(f"{address_without_password(engine)}: no connection is free") from error
    except (exc.OperationalError, exc.InterfaceError) as error:
        raise StoreUnavailableError(f"{address_without_password(engine)}: {_first_line(error)}") from error
    except exc.DatabaseError as error:
        if _is_damaged(error.orig):
            raise StoreUnavailableError(
                f"{address_without_password(engine)} is damaged: {_first_line(error)}. Put a backup in its place."
            ) from error
        raise


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction. Raises StoreUnavailableError."""
    with driver_errors_translated(engine), engine.begin() as connection:
        yield connection


def lift_time_limits(connection: Connection) -> None:
    """Remove the time limits of this transaction, for migrations and deletions of many rows."""
    if connection.dialect.name == "postgresql":
        for limit in ("statement_timeout", "lock_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {limit} = 0")


def limit_statement_time(connection: Connection, seconds: int) -> None:
    """Limit the time of each statement of this transaction. SQLite has no such limit."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{seconds}s'")


def _named_file(url: URL, names: Namespace) -> URL:
    """The URL of the namespace's SQLite file; a store in memory belongs to its process alone."""
    return url if url.database in (None, "", ":memory:") else url.set(database=names.file(url.database))


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _LOCK_SECONDS})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _is_damaged(error: BaseException | None) -> bool:
    code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.DatabaseError) else None
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


# Where several processes open a new file at once and create its log, SQLite reports busy instead of waiting.
@stamina.retry(on=_is_busy, attempts=None, timeout=_LOCK_SECONDS, wait_initial=0.01, wait_max=0.5)
def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Allow readers beside one writer, and begin transactions explicitly: the driver begins none for migrations."""
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    options: Any = connection.get_execution_options()
    connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN"))


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0][:200]
