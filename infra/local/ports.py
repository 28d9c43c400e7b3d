"""Ports on the loopback interface: saved per state folder and never assigned to two stacks of the same user."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.state import StateDir

LOOPBACK = "127.0.0.1"


class PortTakenError(RuntimeError):
    """A port that the user specified is in use."""


class PortAllocator:
    """Assigns the ports of one stack.

    A port is free if no process listens on it and no other stack of this user has claimed it. A claim is a locked file,
    so it ends with its process.
    """

    def __init__(self, state: StateDir, specified: Mapping[str, int]) -> None:
        self._state = state
        self._specified = dict(specified)
        self._claims: dict[str, int] = {}
        self._ports: dict[str, int] = {}
        self.saved = state.ports()

    def port(self, name: str, preferred: int) -> int:
        """Return the port ``name``: the user's, else the saved one, else the preferred one, else any free one.

        Raises PortTakenError if the user specified a port that is in use.
        """
        if name not in self._ports:
            self._ports[name] = self._choose(name, preferred)
            self._state.write_ports({**self.saved, **self._ports})
        return self._ports[name]

    def _choose(self, name: str, preferred: int) -> int:
        if name in self._specified:
            if not self._claim(name, self._specified[name]):
                raise PortTakenError(
                    f"port {self._specified[name]}, specified for {name}, is in use by another process"
                )
            return self._specified[name]
        for port in (self.saved.get(name), preferred):
            if port is not None and self._claim(name, port):
                return port
        while True:
            port = _any_free_port()
            if self._claim(name, port):
                return port

    def _claim(self, name: str, port: int) -> bool:
        folder = Path(tempfile.gettempdir()) / f"dualcast-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not is_free(port):
            os.close(descriptor)
            return False
        self._claims[name] = descriptor
        return True


def is_free(port: int) -> bool:
    """Return whether a server can listen on a port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
