"""A component that runs elsewhere: its address comes from the environment, and all we do is ask whether it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future

from infra.local.component import Component
from infra.local.state import ComponentStatus, Phase

_CHECK_SECONDS = 5.0


def external_address(component: Component, saved_ports: Mapping[str, int]) -> str:
    """The address that the real environment gives for a component, or "" where the component is ours to run.

    It is ours, too, where that address is the one that we used before: somebody exported our own ``stack.env``.
    """
    named = os.environ.get(component.variable, "") if component.variable else ""
    known = all(port in saved_ports for port in component.ports)
    own = component.address.format(**saved_ports) if known else ""
    return named if named != own else ""


class ExternalUnit:
    """A component that is used and not run."""

    pid: int | None = None

    def __init__(self, component: Component, address: str, pool: Executor) -> None:
        self.component = component
        self.wanted = True
        self.phase = Phase.UNREACHABLE
        self._address = address
        self._pool = pool
        self._check: Future[None] | None = None
        self._last_check = 0.0
        self._detail = "not asked yet"

    @property
    def is_ready(self) -> bool:
        """Whether it answered when last asked."""
        return self.phase == Phase.EXTERNAL

    def status(self) -> ComponentStatus:
        """What to tell the commands."""
        return ComponentStatus(name=self.component.name, phase=self.phase, address=self._address, detail=self._detail)

    def tick(self, *, needs_ready: bool, dependents_stopped: bool) -> None:  # noqa: ARG002 - the same call as for a Unit
        """Ask again when it is time to; never blocks."""
        now = time.monotonic()
        if self._check is None and self.component.check and now - self._last_check >= _CHECK_SECONDS:
            self._last_check = now
            self._check = self._pool.submit(self.component.check, self._address)
        elif self._check and self._check.done():
            error, self._check = self._check.exception(), None
            self.phase = Phase.UNREACHABLE if error else Phase.EXTERNAL
            self._detail = str(error) if error else ""

    def on_exit(self, code: int) -> None:
        """Has no process that could end."""
