"""Logs hide passwords and go on when they cannot be written."""

from __future__ import annotations

from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from dualcast.log_stream import unfailing, without_passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cr3t@db/x", "postgresql://***@db/x"),
        ("redis://:p@ss@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
        ("https://token@mlflow.example", "https://***@mlflow.example"),
        ("http://127.0.0.1:8000/api?at=a@b", "http://127.0.0.1:8000/api?at=a@b"),
    ],
)
def test_logs_show_no_password(url: str, shown: str) -> None:
    written = StringIO()
    unfailing(written).write(f"{url} refused, again {url}\n")
    assert written.getvalue() == f"{shown} refused, again {shown}\n"
    assert without_passwords("no address") == "no address"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    written = False
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:  # closing it fails, too
        assert unfailing(full).write("a line\n") == 7
        written = True
    assert written
