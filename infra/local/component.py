"""The description of one component of the embedded stack: command, ports, dependencies and health check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infra.local import checks
from infra.local.state import StateDir

# The C1 compiler alone halves the CPU time of startup. For processes that are short-lived or do little work.
QUICK_START = "-XX:TieredStopAtLevel=1"
_JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


@dataclass(frozen=True)
class LaunchContext:
    """The inputs of a component's command: state folder, JAVA_HOME, ports and additional arguments."""

    state: StateDir
    java_home: Path
    ports: Mapping[str, int]
    arguments: tuple[str, ...] = ()

    def folder(self, component: str) -> Path:
        """Return the data folder of a component; create it if needed."""
        folder = self.state.folder(component)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def java(self, *arguments: str) -> list[str]:
        """Return a Java command line."""
        return [str(self.java_home / "bin" / "java"), *_JAVA_OPTIONS, *arguments]


def _nothing(_: LaunchContext) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Component:
    """A process of the stack.

    ``ports`` maps port names to preferred numbers. ``address`` is a format string over the ports; the supervisor writes
    it to ``stack.env`` as ``DUALCAST_<setting>``, and the variables of ``published``. A component without a check must
    record its progress (``dualcast.heartbeat``). A component with ``restart="on-failure"`` may finish with exit code 0.
    The data of a ``rebuildable`` component is put aside if it does not start with it.
    """

    name: str
    summary: str
    command: Callable[[LaunchContext], list[str]]
    needs: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    setting: str = ""
    address: str = ""
    check: checks.Check | None = None
    environment: Callable[[LaunchContext], dict[str, str]] = _nothing
    published: Callable[[LaunchContext], dict[str, str]] = _nothing
    jar_sets: frozenset[str] = frozenset()
    restart: Literal["always", "on-failure"] = "always"
    stop_seconds: float = 15.0
    rebuildable: bool = False
    by_default: bool = False

    @property
    def variable(self) -> str:
        """The environment variable for its address."""
        return f"DUALCAST_{self.setting.upper()}" if self.setting else ""
