"""New curves by server-sent events, over a real socket: the newest first, then each as it comes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from services.da_svc.app import build_app
from tests import services_world as world


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The application on a free port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def told(lines: Iterator[str]) -> tuple[str, dict[str, Any]]:
    """The next event: its name and its data."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        if line.startswith("data: "):
            return event, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream has ended")


def test_events_begin_with_the_newest_and_go_on_with_each_new_curve() -> None:
    deps = world.da_deps()
    world.fill(deps)
    with served(build_app(deps)) as address, httpx2.Client(timeout=10.0) as client:
        with client.stream("GET", f"{address}/api/v1/events", params={"path": "day-ahead"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            event, newest = told(lines)
            assert (event, newest["issued_at"]) == ("day_ahead", "2022-05-03T09:00:00Z")
            deps.curves.add(world.intraday(world.NOW + timedelta(minutes=15)))
            deps.curves.add(replace(world.day_ahead(date(2022, 5, 5)), degraded_reasons=["fallback: last_stored"]))
            _, later = told(lines)
            assert (later["path"], later["fallback"]) == ("day_ahead", "last_stored")
            assert later["points"][0]["valid_time"] == "2022-05-04T22:00:00Z"
        assert client.get(f"{address}/api/v1/events", params={"entity_id": "XX"}).status_code == 404
