"""Commands of the embedded stack: ``dualcast up | down | status | logs``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dualcast.settings import load_settings
from infra.demo.command import demo
from infra.local import stack
from infra.local.components import COMPONENTS, DEFAULT
from infra.local.java.artifacts import ArtifactError
from infra.local.ports import PortTakenError
from infra.local.state import Phase, StateDir, Status

app = typer.Typer(no_args_is_help=True, help="Run the embedded stack.")

app.command()(demo)

_COLOURS = {
    Phase.HEALTHY: "green",
    Phase.EXTERNAL: "green",
    Phase.FINISHED: "blue",
    Phase.STOPPED: "dim",
    Phase.UNHEALTHY: "red",
    Phase.FAILED: "red",
    Phase.UNREACHABLE: "red",
}
_NAMES = ", ".join(COMPONENTS)
_Names = Annotated[list[str] | None, typer.Argument(metavar="[COMPONENT]...", help=f"Any of: {_NAMES}")]


def state_dir() -> StateDir:
    """Return the state folder: DUALCAST_STATE_DIR or ``.dualcast``."""
    return StateDir(Path(os.environ.get("DUALCAST_STATE_DIR", ".dualcast")))


@app.command()
def up(
    components: _Names = None,
    all_components: Annotated[bool, typer.Option("--all", help="Start every component")] = False,
    port: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PORT", help="Use exactly this port, such as kafka=9092")
    ] = None,
) -> None:
    """Start components, in addition to those that already run, and wait until they are healthy.

    Default: kafka, registry, redis and mlflow. If the DUALCAST_... variable of a component is set in the environment,
    the stack uses that address and does not start the component. Runs in the background until `dualcast down`.
    """
    console, state = Console(stderr=True), state_dir()
    names = tuple(COMPONENTS) if all_components else _validated(components or list(DEFAULT))
    already = state.supervisor_pid() is not None
    with console.status("starting") as spinner, _errors_as_messages(console):
        stack.start(state, names, console=console, ports=_ports(port), on_status=lambda s: spinner.update(_progress(s)))
    if already:
        console.print("The stack was already running.")
    Console().print(_table(state))
    console.print(f"The addresses are in {state.stack_env}. All dualcast commands with this state folder read them.")


@app.command()
def down(components: _Names = None) -> None:
    """Stop the stack, or some components and those that depend on them. The state folder keeps the data."""
    console, state = Console(stderr=True), state_dir()
    with console.status("stopping"), _errors_as_messages(console):
        ran = stack.stop(state, _validated(components or []))
    console.print("Stopped." if ran else "Nothing was running.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")] = False) -> None:
    """Show the state of each component. Exits with code 1 if a requested component is not healthy."""
    state = state_dir()
    rows = stack.rows(state)
    if as_json:
        typer.echo(json.dumps({row.status.name: _as_json(state, row) for row in rows}, indent=1))
    elif rows:
        Console().print(_table(state))
    else:
        Console().print("No component was started in this state folder. Run `dualcast up`.")
    good = {Phase.HEALTHY, Phase.EXTERNAL, Phase.FINISHED}
    if not rows or any(row.status.phase not in good for row in rows):
        raise typer.Exit(1)


@app.command()
def logs(
    component: Annotated[str, typer.Argument(help=f"One of: {_NAMES}, supervisor")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of lines")] = 50,
) -> None:
    """Show the last lines of a component's log."""
    if component != "supervisor":
        _validated([component])
    typer.echo(stack.log_tail(state_dir(), component, lines))


@contextmanager
def _errors_as_messages(console: Console) -> Iterator[None]:
    """Print errors that the user can correct as a message, and exit with code 1."""
    try:
        yield
    except (stack.StackError, ArtifactError, PortTakenError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from error


def _validated(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name not in COMPONENTS:
            raise typer.BadParameter(f"unknown component {name!r}; known: {_NAMES}")
    return tuple(names)


def _ports(named: list[str] | None) -> dict[str, int]:
    ports = {}
    for text in named or []:
        name, _, number = text.partition("=")
        if not number.isdigit():
            raise typer.BadParameter(f"{text!r} is not NAME=PORT")
        ports[name] = int(number)
    return ports


def _progress(status: Status) -> str:
    return "   ".join(f"{c.name} [{_COLOURS.get(c.phase, 'yellow')}]{c.phase}[/]" for c in status.components.values())


def _table(state: StateDir) -> Table:
    namespace = load_settings().namespace or "none"
    table = Table(
        "component",
        "state",
        "pid",
        "address",
        "uptime",
        "memory",
        "log",
        title=f"namespace: {namespace}",
        highlight=False,
    )
    for row in stack.rows(state):
        s = row.status
        phase = f"[{_COLOURS.get(s.phase, 'yellow')}]{s.phase}[/]" + (f" ({s.restarts} restarts)" if s.restarts else "")
        uptime = f"{row.uptime_seconds:.0f} s" if s.pid else ""
        memory = f"{row.resident_bytes / 1e6:.0f} MB" if s.pid else ""
        table.add_row(s.name, phase, str(s.pid or ""), s.address, uptime, memory, str(state.log(s.name)))
    return table


def _as_json(state: StateDir, row: stack.Row) -> dict[str, object]:
    return {
        "state": row.status.phase.value,
        "namespace": load_settings().namespace,
        "pid": row.status.pid,
        "address": row.status.address,
        "uptime_seconds": round(row.uptime_seconds, 1),
        "resident_bytes": row.resident_bytes,
        "restarts": row.status.restarts,
        "detail": row.status.detail,
        "log": str(state.log(row.status.name)),
    }


if __name__ == "__main__":
    app()
