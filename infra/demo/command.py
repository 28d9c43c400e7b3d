"""``dualcast demo``."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dualcast.settings import load_settings
from infra.demo.folder import FolderError
from infra.demo.plan import Options
from infra.demo.run import Demo, DemoError
from infra.demo.steps import StepError
from infra.local.java.artifacts import ArtifactError
from infra.local.stack import StackError
from infra.local.state import StateDir


def demo(  # noqa: PLR0913, PLR0917 -- each is an option of the command
    data: Annotated[Path | None, typer.Option(help="CSV or Parquet file to replay; default: the simulator")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that maps the columns of --data")] = None,
    start: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First delivery day; default: the last --days days of the data"),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Number of delivery days to replay")] = 3,
    speed: Annotated[float, typer.Option(min=1, help="Speed of the replay clock as a multiple of real time")] = 3600,
    use_case: Annotated[str, typer.Option(help="Name of the use case; default: DUALCAST_USE_CASE")] = "",
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Keep the services running at the end; default: only in a terminal"),
    ] = None,
    keep_state: Annotated[bool, typer.Option("--keep-state", help="Keep the contents of the state folder")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Empty the state folder without a question")] = False,
) -> None:
    """Run the whole platform: publish a history, train both models, replay some days and score the forecasts.

    Takes a few minutes and about 6 GB of memory. Empties the state folder (DUALCAST_STATE_DIR, default .dualcast) once
    the input has been read; asks first if the folder is not that of an earlier demo or holds access keys. Ctrl-C stops
    all processes at any time.
    """
    console = Console()
    os.environ.pop("DUALCAST_CLOCK", None)  # the demo sets its own clock for all its processes
    settings = load_settings()
    for file in (data, mapping):
        if file is not None and not file.is_file():
            raise typer.BadParameter(f"file {file} does not exist")
    first = start.date() if start else None
    absolute = [file.absolute() if file else None for file in (data, mapping)]
    options = Options(use_case or settings.use_case, absolute[0], absolute[1], first, days, speed)
    serving = console.is_terminal if keep is None else keep
    try:
        Demo(options, StateDir(settings.state_dir), console).run(
            keep_state=keep_state, keep_serving=serving, may_empty=lambda reason: yes or _confirmed(console, reason)
        )
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None
    except (FolderError, DemoError, StepError, StackError, ArtifactError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from error


def _confirmed(console: Console, reason: str) -> bool:
    """Ask in a terminal; without one, nobody can agree."""
    return console.is_terminal and typer.confirm(f"{reason}\nEmpty it?")
