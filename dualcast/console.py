"""Shared by the commands of all packages: options, start-up, and the report of expected errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from dualcast import telemetry
from dualcast.catalogue import UseCase, load_use_case
from dualcast.log_stream import without_passwords
from dualcast.settings import Settings, load_settings
from dualcast.timegrid import parse_moment

UseCaseName = Annotated[
    str | None, typer.Option("--use-case", "-u", metavar="NAME", help="Use case; default: that of the settings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def moment_option(name: str, help_text: str) -> Any:
    """An option that takes a time: ISO 8601, UTC where it names no zone."""
    return typer.Option(name, parser=parse_moment, metavar="TIME", help=help_text, show_default=False)


def configured(use_case: str | None, service: str) -> tuple[Settings, UseCase]:
    """The settings and the use case of a command, whose traces and metrics carry the name of a service."""
    settings = load_settings()
    telemetry.configure(settings, service)
    return settings, load_use_case(use_case or settings.use_case, settings.use_cases)


def report(error: object) -> None:
    """Print an error to stderr."""
    Console(stderr=True).print(
        f"[red]error:[/red] {escape(without_passwords(str(error)))}", highlight=False, soft_wrap=True
    )


def fail(error: object, *, status: int = 1) -> NoReturn:
    """Print an error to stderr, and exit with a status."""
    report(error)
    raise typer.Exit(status)


@contextmanager
def exit_on(*errors: type[Exception], status: int = 1) -> Iterator[None]:
    """Report errors of these types without a traceback, and exit with a status."""
    try:
        yield
    except errors as error:
        fail(error, status=status)
