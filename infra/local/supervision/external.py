"""A component that runs outside the stack: its address comes from the environment; only its health is checked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future

from infra.local.component import Component
from infra.local.state import ComponentStatus, Phase

_CHECK_SECONDS = 5.0


def external_address(component: Component, saved_ports: Mapping[str, int]) -> str:
    """Return the address of a component in the environment, or "" if the stack runs the component itself.

    An address that this stack assigned before does not count as external: the user may have exported ``stack.env``.
    """
    named = os.environ.get(component.variable, "") if component.variable else ""
    known = all(port in saved_ports for port in component.ports)
    own = component.address.format(**saved_ports) if known else ""
    return named if named != own else ""


class ExternalUnit:
    """A component that the stack uses but does not run."""

    pid: int | None = None

    def __init__(self, component: Component, address: str, pool: Executor) -> None:
        self.component = component
        self.wanted = True
        self.phase = Phase.UNREACHABLE
        self._address = address
        self._pool = pool
        self._check: Future[None] | None = None
        self._last_check = 0.0
        self._detail = "not checked yet"

    @property
    def is_ready(self) -> bool:
        """Whether the last health check succeeded."""
        return self.phase == Phase.EXTERNAL

    @property
    def has_failed(self) -> bool:
        """Whether the last health check failed."""
        return self.phase == Phase.UNREACHABLE and self._last_check > 0

    def retry(self) -> None:
        """Do nothing: it is checked all the time."""

    def status(self) -> ComponentStatus:
        """Return the state for ``status.json``."""
        return ComponentStatus(name=self.component.name, phase=self.phase, address=self._address, detail=self._detail)

    def tick(self, *, needs_ready: bool, dependents_stopped: bool) -> None:  # noqa: ARG002 - same signature as Unit.tick
        """Start a health check when due, or read the result of the last one. Never blocks."""
        now = time.monotonic()
        if self._check is None and self.component.check and now - self._last_check >= _CHECK_SECONDS:
            self._last_check = now
            self._check = self._pool.submit(self.component.check, self._address)
        elif self._check and self._check.done():
            error, self._check = self._check.exception(), None
            self.phase = Phase.UNREACHABLE if error else Phase.EXTERNAL
            self._detail = str(error) if error else ""

    def on_exit(self, code: int) -> None:
        """Do nothing: there is no process."""
