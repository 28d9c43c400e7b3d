"""Commands of the store: ``dualcast store ...``, ``dualcast keys ...`` and ``dualcast retention``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from dualcast.catalogue import load_catalogue
from dualcast.console import exit_on
from dualcast.settings import Settings, load_settings
from dualcast.timegrid import as_utc
from services.access.identity import Grant, Role

if TYPE_CHECKING:
    from dualcast.adapters.store.engine import Engine

store_app = typer.Typer(no_args_is_help=True, help="The relational store: forecasts, answers, audit trail, keys.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the services.")

_Moment = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC")]


@store_app.command("migrate")
def migrate_store() -> None:
    """Migrate the store's tables to this version. Concurrent runs are safe."""
    from dualcast.adapters.store.engine import address_without_password  # noqa: PLC0415 - slow to import, not needed by other commands
    from dualcast.adapters.store.migrate import migrate  # noqa: PLC0415 - as above

    with _opened(load_settings(), migrated=False) as engine:
        Console(stderr=True).print(
            f"{address_without_password(engine)} is at revision {migrate(engine)}", highlight=False
        )


@store_app.command()
def record() -> None:
    """Store every curve of both forecast topics, until stopped."""
    from dualcast import telemetry  # noqa: PLC0415 - slow to import, not needed by other commands
    from dualcast.adapters.store.redis_curves import RedisCurves  # noqa: PLC0415 - as above
    from services.store.recorder import Recorder  # noqa: PLC0415 - as above

    settings, stop = load_settings(), threading.Event()
    telemetry.configure(settings, "recorder")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _opened(settings) as engine:
        Recorder(engine, settings.clock, RedisCurves(settings.redis, settings.names).invalidate).follow(settings, stop)


@store_app.command("export")
def export_store(
    path: Annotated[Literal["day-ahead", "intraday"], typer.Option(help="Path of the curves")],
    to: Annotated[str, typer.Option(help="A .parquet or .csv file, or a postgresql:// URL (password: PGPASSWORD)")],
    use_case: Annotated[str | None, typer.Option(help="The use case; DUALCAST_USE_CASE unless given")] = None,
    start: _Moment = None,
    end: _Moment = None,
) -> None:
    """Write the curves that were issued from --start on and before --end to a file or another database."""
    from dualcast.adapters.store.forecasts import Span  # noqa: PLC0415 - slow to import, not needed by other commands
    from services.store.store_export import export  # noqa: PLC0415 - as above

    settings = load_settings()
    span = Span(
        use_case or settings.use_case, path, *(None if moment is None else as_utc(moment) for moment in (start, end))
    )
    with _opened(settings) as engine:
        count = export(engine, span, to)
    Console(stderr=True).print(f"{count:,} curves")
    if count == 0:
        raise typer.Exit(1)


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Name of the user, shown in the audit trail")],
    role: Annotated[
        Role,
        typer.Option(
            help="reader: reads forecasts; predictor: also computes them; operator: also operates the services"
        ),
    ],
    access: Annotated[
        list[str],
        typer.Option(
            metavar="USE_CASE/ENTITY", help="Entities that the key may read, such as de_load/DE or pv_parks/*"
        ),
    ],
    days: Annotated[int | None, typer.Option(min=1, help="Days until the key expires; never unless given")] = None,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    from dualcast.adapters.store import keys  # noqa: PLC0415 - slow to import, not needed by other commands

    try:
        grants = [str(Grant.parse(text)) for text in access]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    settings = load_settings()
    now = settings.clock.now()
    with _opened(settings) as engine:
        expires_at = now + timedelta(days=days) if days else None
        key, stored = keys.create(engine, name[:64], role.value, grants, now, expires_at)
    Console(stderr=True).print(f"Key {stored.id}. Only its digest is stored, so copy the key now:", highlight=False)
    typer.echo(key)


@keys_app.command("list")
def list_keys() -> None:
    """List all keys with their state, including revoked ones. The keys themselves are not stored."""
    from dualcast.adapters.store import keys  # noqa: PLC0415 - slow to import, not needed by other commands

    settings = load_settings()
    with _opened(settings) as engine:
        found = keys.list_keys(engine)
    table = Table("id", "name", "role", "access", "created", "state", highlight=False)
    for key in found:
        expires = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "live"
        ended = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "expired"
        state = expires if key.is_live(settings.clock.now()) else ended
        table.add_row(key.id, key.name, key.role, " ".join(key.access), f"{key.created_at:%Y-%m-%d}", state)
    Console().print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id that `dualcast keys list` shows")]) -> None:
    """Revoke a key. The services refuse it within seconds."""
    from dualcast.adapters.store import keys  # noqa: PLC0415 - slow to import, not needed by other commands

    settings = load_settings()
    with _opened(settings) as engine:
        keys.revoke(engine, key_id, settings.clock.now())
    Console(stderr=True).print(f"{key_id} is revoked", highlight=False)


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the expired rows")] = False,
) -> None:
    """Delete forecasts and predictions older than 2 years, and the audit trail older than 7 years."""
    from dualcast.adapters import lake  # noqa: PLC0415 - slow to import, not needed by other commands
    from dualcast.adapters.store import retention as limits  # noqa: PLC0415 - as above

    settings, done = load_settings(), "would be deleted" if dry_run else "deleted"
    now = settings.clock.now()
    with _opened(settings) as engine:
        counts = (limits.count_expired if dry_run else limits.delete_expired)(engine, now)
    for table, count in counts.items():
        typer.echo(f"{table}: {count} rows {done}")
    first = limits.years_before(now, limits.FORECAST_YEARS).date()
    for use_case, found in load_catalogue(settings.use_cases).items():
        for path in found.paths:
            days = lake.days_of_forecasts(settings, use_case, path)
            old = [folder for day, folder in days.items() if day < first]
            for folder in () if dry_run else old:
                lake.delete(folder)
            typer.echo(f"lake, {use_case} {path}: {len(old)} days {done}")


@contextmanager
def _opened(settings: Settings, *, migrated: bool = True) -> Iterator[Engine]:
    """The store. Expected errors end the command with a message and exit status 1."""
    from dualcast.adapters.store.engine import open_store  # noqa: PLC0415 - slow to import, not needed by other commands
    from dualcast.adapters.store.keys import UnknownKeyError  # noqa: PLC0415 - as above
    from dualcast.adapters.store.migrate import UnmigratedStoreError, make_ready  # noqa: PLC0415 - as above

    with exit_on(ConnectionError, UnmigratedStoreError, UnknownKeyError, ValueError):
        engine = open_store(settings)
        try:
            if migrated:
                make_ready(engine, settings)
            yield engine
        finally:
            engine.dispose()
