"""A uvicorn server that accepts all waiting connections at once.

uvloop accepts one connection in each iteration of the event loop. Under load an iteration takes as long as all requests
in flight: new connections, such as those of health checks, then wait for minutes behind the clients of a flood.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from functools import partial

import uvicorn

from dualcast.adapters.http.protocol import CROWDED, Config, LimitedProtocol

_FAILED_START = 3  # as the exit status of uvicorn
_MOST_AT_ONCE = 256
_HANDSHAKE_SECONDS = 10.0
# After an error such as too many open files.
_PAUSE_SECONDS = 0.2
_log = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """A server on the address of its configuration, or on given sockets."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._listening: list[socket.socket] = []
        self._connecting: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections. Exits with status 3 if the address cannot be used."""
        await super().startup(sockets=[])
        try:
            self._listening = sockets or await self._bound()
        except OSError as error:
            _log.error("%s", error)
            await self.lifespan.shutdown()
            sys.exit(_FAILED_START)
        for listening in self._listening:
            listening.setblocking(False)
            listening.listen(self.config.backlog)
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to accept connections, then stop the application."""
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        await super().shutdown(sockets)

    async def _bound(self) -> list[socket.socket]:
        """A socket for each address of the host. Raises OSError."""
        host, port, bound = self.config.host, self.config.port, []
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            bound.append(socket.create_server(address[:2], family=family, backlog=self.config.backlog))
        return bound

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                accepted, (address, *_) = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("connections wait: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_PAUSE_SECONDS, self._resume, listening)
                return
            accepted.setblocking(False)
            if self.config.traffic.opened(address):
                task = asyncio.get_running_loop().create_task(self._connect(accepted, address))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            else:
                self._refuse(accepted)

    def _refuse(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            if self.config.ssl is None:
                accepted.send(CROWDED.response(""))

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _connect(self, accepted: socket.socket, address: str) -> None:
        """Pass a connection to its protocol, after the handshake if there is TLS."""
        tls = self.config.ssl
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(self._protocol, address),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
            )
        except OSError:  # the client has gone, or its handshake failed
            accepted.close()
            self.config.traffic.closed(address)

    def _protocol(self, address: str) -> LimitedProtocol:
        made = LimitedProtocol(self.config, self.server_state, self.lifespan.state)
        made.address = address
        return made
