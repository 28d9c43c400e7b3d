"""The embedded stack in a temporary folder, for benchmarks that need real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from dualcast.settings import Settings, load_settings
from infra.local import stack
from infra.local.java import artifacts
from infra.local.state import StateDir

USE_CASES = Path(__file__).parent.parent / "use_cases"
_CONSOLE = Console(stderr=True)


@dataclass(frozen=True)
class Embedded:
    """A stack whose components are started one after another."""

    state: StateDir

    def start(self, *components: str) -> Settings:
        """Start components and wait until they are healthy; return the settings with their addresses."""
        stack.start(self.state, components, console=_CONSOLE)
        return load_settings()

    def pid(self, component: str) -> int:
        """The process id of a running component."""
        return int(self.state.live_status().components[component].pid or 0)


@contextmanager
def embedded(use_cases: Path = USE_CASES) -> Iterator[Embedded]:
    """A stack without running components, set in the environment of this process; removed afterwards."""
    with TemporaryDirectory(prefix="dualcast-bench-") as folder:
        state, before = StateDir(Path(folder)), dict(os.environ)
        os.environ |= {"DUALCAST_STATE_DIR": folder, "DUALCAST_USE_CASES": str(use_cases)}
        try:
            artifacts.ensure({"spark", "flink"}, _CONSOLE)
            yield Embedded(state)
        finally:
            stack.stop(state)
            os.environ.clear()
            os.environ |= before
