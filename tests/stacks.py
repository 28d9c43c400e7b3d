"""Embedded stacks for tests: one shared by the modules of a worker, each in a namespace, or one for a single module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from infra.local import stack as embedded
from infra.local.components import DEFAULT
from infra.local.java import artifacts
from infra.local.state import ProcessId, StateDir

ROOT = Path(__file__).parent.parent
_CONSOLE = Console(stderr=True)
_JAR_SETS = {"spark", "flink"}


@contextmanager
def stopped_at_the_end(state: StateDir) -> Iterator[StateDir]:
    """Stop the stack of a state folder at the end."""
    try:
        yield state
    finally:
        embedded.stop(state)


def start(state: StateDir, names: tuple[str, ...]) -> None:
    """Start components that do not run yet and wait until they are healthy. They stop when this process ends."""
    artifacts.ensure(_JAR_SETS, _CONSOLE)
    embedded.start(state, names or DEFAULT, console=_CONSOLE, owner=ProcessId.of_this_process())


def use_servers_of(other: StateDir, state: StateDir) -> None:
    """Copy the server addresses of another state folder to ``state``."""
    state.create()
    shutil.copyfile(other.stack_env, state.stack_env)


def clean_environment(patch: pytest.MonkeyPatch, state_dir: Path) -> None:
    """Remove the developer's DUALCAST_ variables, so that all addresses come from the state folder."""
    for name in [n for n in os.environ if n.startswith("DUALCAST_") and n != "DUALCAST_CACHE_DIR"]:
        patch.delenv(name)
    patch.setenv("DUALCAST_STATE_DIR", str(state_dir))
    patch.setenv("DUALCAST_USE_CASES", str(ROOT / "use_cases"))
