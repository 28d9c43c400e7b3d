"""What describes one component of the embedded stack: its command, ports, dependencies and health check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infra.local import checks
from infra.local.state import StateDir

_JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


@dataclass(frozen=True)
class LaunchContext:
    """Where one component is started: the state folder, the Java, its ports and what is added to its command."""

    state: StateDir
    java_home: Path
    ports: Mapping[str, int]
    arguments: tuple[str, ...] = ()

    def folder(self, component: str) -> Path:
        """A component's data folder, made on first use."""
        folder = self.state.folder(component)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def java(self, *arguments: str) -> list[str]:
        """A Java command line."""
        return [str(self.java_home / "bin" / "java"), *_JAVA_OPTIONS, *arguments]


def _no_variables(_: LaunchContext) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Component:
    """A process of the stack.

    ``ports`` maps port names to the preferred numbers; ``address`` is a template over them and goes to ``stack.env`` as
    ``DUALCAST_<setting>``. A component without address is well as long as it lives. One that restarts ``on-failure``
    may end by itself.
    """

    name: str
    summary: str
    command: Callable[[LaunchContext], list[str]]
    needs: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    setting: str = ""
    address: str = ""
    check: checks.Check | None = None
    environment: Callable[[LaunchContext], dict[str, str]] = _no_variables
    jar_sets: frozenset[str] = frozenset()
    restart: Literal["always", "on-failure"] = "always"
    stop_seconds: float = 15.0
    by_default: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that holds its address."""
        return f"DUALCAST_{self.setting.upper()}" if self.setting else ""
