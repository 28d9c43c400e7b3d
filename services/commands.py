"""Commands of the services: ``dualcast serve da | id``, ``dualcast export``, and those of the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from dualcast.catalogue import load_use_case
from dualcast.console import exit_on
from dualcast.records import Topic
from dualcast.settings import load_settings
from services.store.commands import keys_app, retention, store_app

app = typer.Typer(no_args_is_help=True, help="Serve and export forecasts.")
serve_app = typer.Typer(no_args_is_help=True, help="Serve forecasts over HTTP until stopped.")
app.add_typer(serve_app, name="serve")
app.add_typer(store_app, name="store")
app.add_typer(keys_app, name="keys")
app.command()(retention)

_TOPICS = {"day-ahead": Topic.FORECASTS_DAY_AHEAD, "intraday": Topic.FORECASTS_INTRADAY}


@serve_app.command("da")
def serve_da() -> None:
    """Serve day-ahead forecasts and the page: da-svc, at DUALCAST_DA_SVC."""
    from services.da_svc.main import run  # noqa: PLC0415 - slow, and of no use to other commands

    _start(run)


@serve_app.command("id")
def serve_id() -> None:
    """Serve intraday forecasts and publish them as features arrive: id-svc, at DUALCAST_ID_SVC."""
    from services.id_svc.main import run  # noqa: PLC0415 - as above

    _start(run)


@app.command()
def export(
    path: Annotated[Literal["day-ahead", "intraday"], typer.Option(help="The path of the curves")],
    out: Annotated[Path, typer.Option(help="File to write: .parquet or .csv", dir_okay=False)],
    use_case: Annotated[str | None, typer.Option(help="The use case; default: DUALCAST_USE_CASE")] = None,
    actuals: Annotated[
        Path | None, typer.Option(help="Also write actuals and the reference to this file", dir_okay=False)
    ] = None,
) -> None:
    """Write all published curves to a file, one row for each interval.

    --actuals writes the target in its newest vintage and the reference, on the grid of the path.
    """
    from dualcast.adapters.kafka import readers as forecast_store  # noqa: PLC0415 - slow, and of no use to other commands
    from dualcast.adapters.kafka.connection import UnreachableError  # noqa: PLC0415 - as above
    from services.store import topic_export as exports  # noqa: PLC0415 - as above

    console, settings = Console(stderr=True), load_settings()
    case = load_use_case(use_case or settings.use_case, settings.use_cases)
    with exit_on(UnreachableError, exports.NothingToExportError, ValueError):
        with console.status(f"reading {_TOPICS[path]}"):
            curves = forecast_store.published_forecasts(settings, _TOPICS[path])
            frame = exports.curves_frame(curves, case.use_case)
        exports.write(frame, out)
        issues = len(frame.drop_duplicates(["entity_id", "issued_at"]))
        console.print(f"{out}: {issues:,} curves, {len(frame):,} points")
        if actuals is not None:
            with console.status(f"reading {Topic.OBSERVATIONS}"):
                records = forecast_store.published(settings, Topic.OBSERVATIONS)
                known = exports.actuals_frame(records, case, path)
            exports.write(known, actuals)
            console.print(f"{actuals}: {len(known):,} intervals")


def _start(run: Callable[[], None]) -> None:
    """Serve. If the settings or the store do not permit it, print the reason and exit with 1."""
    from dualcast.adapters.store.migrate import UnmigratedStoreError  # noqa: PLC0415 - slow, as above
    from services.access.settings import WeakSecretError  # noqa: PLC0415 - as above

    with exit_on(ConnectionError, UnmigratedStoreError, WeakSecretError, ValueError):
        run()
