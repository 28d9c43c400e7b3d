"""``python -m infra.local.java``: fetch sets of jars into a folder (for container images), or pin them anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.local.java import artifacts
from infra.local.java.lock import write_lock

app = typer.Typer(no_args_is_help=True)


@app.command()
def fetch(
    jar_sets: Annotated[list[str], typer.Argument(metavar="SET...", help="broker, registry, flink or spark")],
    to: Annotated[Path, typer.Option(help="Folder that gets one folder for each set")],
) -> None:
    """Download sets of jars, as jars.lock pins them, and copy them to a folder."""
    artifacts.ensure(jar_sets, Console(stderr=True))
    for jar_set in jar_sets:
        folder = to / jar_set
        folder.mkdir(parents=True, exist_ok=True)
        for jar in artifacts.jars(jar_set):
            shutil.copy(jar, folder)


@app.command()
def lock() -> None:
    """Resolve, download and pin everything, and write jars.lock."""
    write_lock(Console(stderr=True))


if __name__ == "__main__":
    app()
