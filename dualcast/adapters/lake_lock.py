"""The lock of the lake: one process at a time writes to it, on one machine or several.

Where the store is PostgreSQL, the lock is an advisory lock of a session there, and holds for all machines that use the
store. Otherwise everything is on one machine, and the lock is a file in the state directory. Either lock is released
when its holder dies: PostgreSQL ends the session, the operating system closes the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from filelock import FileLock, Timeout

from dualcast.settings import Settings

# Both sides notice within a minute that the other machine is gone: a session may be idle for hours.
_KEEPALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_NO_TIMEOUTS = "statement_timeout = 0", "lock_timeout = 0"  # a holder may need hours
_log = structlog.get_logger(__name__)


@contextmanager
def lake_lock(settings: Settings, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the lake; calls ``on_wait`` once where another process holds it, then waits.

    Raises StoreUnavailableError where PostgreSQL is unavailable.
    """
    hold = _in_postgresql if settings.store_url.startswith("postgresql") else _in_file
    with hold(settings, on_wait):
        yield


@contextmanager
def _in_file(settings: Settings, on_wait: Callable[[], None]) -> Iterator[None]:
    folder = settings.state_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.names.file(str(folder / "lake.lock")))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _in_postgresql(settings: Settings, on_wait: Callable[[], None]) -> Iterator[None]:
    from sqlalchemy import exc, func, make_url, select  # noqa: PLC0415 -- not needed where the store is embedded

    from dualcast.adapters.store.engine import driver_errors_translated, open_url  # noqa: PLC0415 -- as above

    # one lock for each lake: several lakes may share a store
    key = int.from_bytes(hashlib.sha256(settings.lake_uri.encode()).digest()[:8], "big", signed=True)
    engine = open_url(make_url(settings.store_url).update_query_dict(_KEEPALIVE))
    with driver_errors_translated(engine):
        session = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for setting in (*_NO_TIMEOUTS, *(f"tcp_{name} = {value}" for name, value in _KEEPALIVE.items())):
            session.exec_driver_sql(f"SET {setting}")
        if not session.scalar(select(func.pg_try_advisory_lock(key))):
            on_wait()
            session.execute(select(func.pg_advisory_lock(key)))
    try:
        yield
    finally:
        try:
            session.execute(select(func.pg_advisory_unlock(key)))
        except exc.DBAPIError as error:
            _log.error("the lock of the lake was lost, another run may have written too", error=str(error.orig))
        session.close()
        engine.dispose()
