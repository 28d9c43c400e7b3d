"""``dualcast ...``: the commands of all top-level packages, found by entry point."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points

import typer

from dualcast import __version__
from dualcast.catalogue import CatalogueError, load_use_case
from dualcast.console import report
from dualcast.settings import SettingsError, load_settings

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Electricity demand forecasts on two paths."
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def validate(use_case: str) -> None:
    """Check a use case file, and report its errors by line."""
    from dualcast.features.holidays import special_day_codes  # noqa: PLC0415 -- slow to import, and needed by this command alone

    found = load_use_case(use_case, load_settings().use_cases)
    for entity in found.entities:
        try:
            special_day_codes(entity.holidays)
        except (ValueError, NotImplementedError) as error:
            raise CatalogueError(f"{use_case}: holidays of {entity.id}: {error}") from error
    typer.echo(f"{found.use_case}: {len(found.entities)} entities, {len(found.variables)} variables")


def _commands(package: EntryPoint) -> typer.Typer | None:
    """The commands of a package; None if its dependencies are not installed."""
    try:
        commands: typer.Typer = package.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"dualcast", "batch", "infra", "models", "services", "streaming"}:
            raise
        return None
    return commands


def main() -> None:
    """Collect the commands of all packages and run one. Errors of catalogue and settings exit with status 2.

    Files that commands write, such as keys, curves and logs, are for the user alone.
    """
    os.umask(0o077)
    packages = sorted(entry_points(group="dualcast.commands"), key=lambda e: e.name)
    for commands in filter(None, map(_commands, packages)):
        name = commands.info.name
        app.add_typer(commands, name=name if isinstance(name, str) else None)
    try:
        app()
    except (CatalogueError, SettingsError) as error:
        report(error)
        sys.exit(2)
