"""da-svc as a process with the usual limit of 1,024 files, and clients that begin requests and do not end them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest
from websockets.sync.client import connect

from tests.databases import free_port
from tests.stacks import ROOT, clean_environment
from tests.waiting import until

_NOWHERE = {"KAFKA": "127.0.0.1:1", "REGISTRY": "http://127.0.0.1:1", "REDIS": "redis://127.0.0.1:1/0"}
HEAD_SECONDS = BODY_SECONDS = 3
HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-"
HALF_A_BODY = b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running da-svc, which finds no servers."""
    folder, number = tmp_path_factory.mktemp("slow"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, folder)
        own = {"DA_SVC": f"http://127.0.0.1:{number}", "HEAD_SECONDS": "3", "BODY_SECONDS": "3"}
        for name, value in (_NOWHERE | own).items():
            patch.setenv(f"DUALCAST_{name}", value)
        command = f"ulimit -n 1024; exec {Path(sys.executable).with_name('dualcast')} serve da"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ))
    try:
        until(lambda: process.poll() is not None or is_live(number), 60)
        yield number
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(10)


def is_live(port: int) -> bool:
    with suppress(httpx2.TransportError):
        return httpx2.get(f"http://127.0.0.1:{port}/health/live", timeout=5).is_success
    return False


def opened(stack: ExitStack, port: int, count: int, sent: bytes, source: str = "127.0.0.2") -> list[socket.socket]:
    found = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
        stack.callback(connection.close)
        with suppress(ConnectionError):
            connection.sendall(sent)
        found.append(connection)
    return found


def rest(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize("sent", [HALF_A_HEAD, HALF_A_BODY], ids=["headers", "body"])
def test_a_request_that_does_not_arrive_in_time_is_refused(port: int, sent: bytes) -> None:
    with ExitStack() as stack:
        (connection,) = opened(stack, port, 1, sent)
        started = time.monotonic()
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert HEAD_SECONDS - 0.5 < time.monotonic() - started < HEAD_SECONDS + 20


def test_a_request_that_arrives_byte_by_byte_is_refused_and_a_connection_without_one_is_closed(port: int) -> None:
    with ExitStack() as stack:
        silent, dripping = opened(stack, port, 1, b"")[0], opened(stack, port, 1, HALF_A_BODY)[0]
        dripping.settimeout(0.2)
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < BODY_SECONDS + 20:
            dripping.sendall(b" ")
            with suppress(TimeoutError):
                answer = dripping.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert rest(silent) == b""


def test_half_sent_requests_of_one_address_leave_the_service_to_others(port: int) -> None:
    with ExitStack() as stack:
        connections = opened(stack, port, 1_100, HALF_A_HEAD)
        started = time.monotonic()
        assert is_live(port)
        assert time.monotonic() - started < 5
        refused = rest(connections[-1])
        assert refused == b"" or refused.startswith(b"HTTP/1.1 503 ")


def test_half_sent_requests_of_many_addresses_are_over_when_their_time_is(port: int) -> None:
    with ExitStack() as stack:
        for host in range(3, 7):
            opened(stack, port, 280, HALF_A_HEAD, f"127.0.0.{host}")
        started = time.monotonic()
        until(lambda: is_live(port), HEAD_SECONDS + 5)
        assert time.monotonic() - started < HEAD_SECONDS + 20


def test_open_websockets_count_as_connections_and_are_not_timed_out(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/api/v1/ws"
    with connect(url) as socket_:
        time.sleep(HEAD_SECONDS + 1.5)
        socket_.ping().wait(5)
    statuses = []
    with ExitStack() as stack:
        for _ in range(390):
            with suppress(Exception):
                stack.enter_context(connect(url, open_timeout=5))
                statuses.append(101)
    assert 370 <= len(statuses) <= 384
    until(lambda: is_live(port), 10)
