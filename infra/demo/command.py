"""``dualcast demo``."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dualcast.settings import load_settings
from infra.demo.plan import Options
from infra.demo.run import Demo, DemoError
from infra.demo.steps import StepError
from infra.local.java.artifacts import ArtifactError
from infra.local.stack import StackError
from infra.local.state import StateDir


def demo(
    data: Annotated[Path | None, typer.Option(help="Replay this CSV or Parquet file; default: a simulator")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML that says what the columns of --data are")] = None,
    start: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First delivery day; default: so that the last ones are shown"),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How many delivery days to replay")] = 3,
    speed: Annotated[
        float, typer.Option(min=1, help="How many times faster than the wall the replay's clock runs")
    ] = 3600,
    use_case: Annotated[str, typer.Option(help="Name of the use case; default: DUALCAST_USE_CASE")] = "",
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Go on serving at the end; default: where there is a terminal"),
    ] = None,
    keep_state: Annotated[bool, typer.Option("--keep-state", help="Do not empty the state folder first")] = False,
) -> None:
    """Show the whole platform: publish a history, train both models, then replay some days and score the forecasts.

    Takes a few minutes and about 6 GB of memory. The state folder (DUALCAST_STATE_DIR, else .dualcast) is emptied
    first. Ctrl-C stops everything at any point.
    """
    console = Console()
    os.environ.pop("DUALCAST_CLOCK", None)  # the demo makes a clock of its own, for all processes below it
    settings = load_settings()
    for file in (data, mapping):
        if file is not None and not file.is_file():
            raise typer.BadParameter(f"there is no file {file}")
    first = start.date() if start else None
    absolute = [file.absolute() if file else None for file in (data, mapping)]
    options = Options(use_case or settings.use_case, absolute[0], absolute[1], first, days, speed)
    serving = console.is_terminal if keep is None else keep
    try:
        Demo(options, StateDir(settings.state_dir), console).run(keep_state=keep_state, keep_serving=serving)
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None
    except (DemoError, StepError, StackError, ArtifactError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from error
