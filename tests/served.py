"""Serve an application on a real socket, and read its event stream."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from dualcast.adapters.http.accepting import Server
from dualcast.adapters.http_server import config


@contextmanager
def served(app: FastAPI, **options: Any) -> Iterator[str]:
    """Serve the application on a free port, with the limits of production, and yield its URL.

    Connections before the startup are queued. ``options``: see ``config``.
    """
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    defaults: dict[str, Any] = {"largest_body": 2**20, "log_level": "error", "timeout_graceful_shutdown": 1}
    server = Server(config(app, "127.0.0.1", 0, **(defaults | options)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def next_event(lines: Iterator[str]) -> tuple[str, dict[str, Any]]:
    """Return the name and data of the next event."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        if line.startswith("data: "):
            return event, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream has ended")
