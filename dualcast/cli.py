"""``dualcast ...``: each room brings its own commands, found by entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from dualcast import __version__
from dualcast.catalogue import CatalogueError, load_use_case
from dualcast.records import Topic
from dualcast.settings import load_settings

_LENGTH_BYTES = 4

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Electricity demand forecasts on two paths."
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def validate(use_case: str) -> None:
    """Check a use case file, and say which lines are wrong."""
    found = load_use_case(use_case, load_settings().use_cases)
    typer.echo(f"{found.use_case}: {len(found.entities)} entities, {len(found.variables)} variables")


@app.command()
def decode(topic: Annotated[Topic, typer.Argument(help="Where the messages come from")]) -> None:
    """Turn messages on standard input, as kcat -f '%R%s' writes them, into lines of JSON."""
    from dualcast.adapters.kafka import Codec  # noqa: PLC0415 -- slow imports come after help texts

    codec = Codec(load_settings(), topic)
    try:
        for value in framed(sys.stdin.buffer):
            typer.echo(json.dumps(codec.decode(value), default=str))
    except (ValueError, ConnectionError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(1)
    finally:
        codec.close()


def framed(stream: BinaryIO) -> Iterator[bytes]:
    """Values that follow their length in four bytes, high byte first. Raises ValueError where one is cut short."""
    while head := stream.read(_LENGTH_BYTES):
        length = int.from_bytes(head, "big")
        value = stream.read(length) if len(head) == _LENGTH_BYTES else b""
        if len(head) < _LENGTH_BYTES or len(value) < length:
            raise ValueError("the input ends within a message; is it written by kcat -f '%R%s'?")
        yield value


def _commands(room: EntryPoint) -> typer.Typer | None:
    """The commands of a room; None where this installation is of another role and lacks what they need."""
    try:
        commands: typer.Typer = room.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"dualcast", "batch", "infra", "models", "services", "streaming"}:
            raise
        return None
    return commands


def main() -> None:
    """Collect the rooms' commands and run one. A known mistake ends with its text and status 2."""
    rooms = sorted(entry_points(group="dualcast.commands"), key=lambda e: e.name)
    for commands in filter(None, map(_commands, rooms)):
        name = commands.info.name
        app.add_typer(commands, name=name if isinstance(name, str) else None)
    try:
        app()
    except CatalogueError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(2)
