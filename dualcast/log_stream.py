"""Logs that never fail and show no password: a process goes on when its log cannot be written, as on a full disk."""

from __future__ import annotations

import re
from contextlib import suppress
from io import TextIOBase
from typing import TextIO, cast

# The user and the password in a URL, up to the last @ before its path.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s?#]+(?=@)")


def without_passwords(text: str) -> str:
    """Hide user and password of all URLs in a text.

    >>> without_passwords("MLflow at https://me:s3cr3t@mlflow.example/a: refused")
    'MLflow at https://***@mlflow.example/a: refused'
    """
    return _CREDENTIALS.sub("***", text) if "://" in text else text


def unfailing(stream: TextIO) -> TextIO:
    """A stream that passes text on to another, and drops what that refuses."""
    return cast("TextIO", _Unfailing(stream))


class _Unfailing(TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(without_passwords(text))
            self._stream.flush()
        return len(text)

    def isatty(self) -> bool:
        return self._stream.isatty()
