"""``python -m infra.local.java``: copy sets of jars to a folder (for container images), or update the lock file."""

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
    to: Annotated[Path, typer.Option(help="Target folder; each set gets a subfolder")],
) -> None:
    """Download the sets of jars pinned in jars.lock and copy them to a folder."""
    artifacts.ensure(jar_sets, Console(stderr=True))
    for jar_set in jar_sets:
        folder = to / jar_set
        folder.mkdir(parents=True, exist_ok=True)
        for jar in artifacts.jars(jar_set):
            shutil.copy(jar, folder)


@app.command()
def lock() -> None:
    """Resolve and download all artifacts, and write their versions and checksums to jars.lock."""
    write_lock(Console(stderr=True))


if __name__ == "__main__":
    app()
