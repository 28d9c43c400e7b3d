"""A stream for logs that never fails: a process goes on when its log cannot be written, such as on a full disk."""

from __future__ import annotations

from contextlib import suppress
from io import TextIOBase
from typing import TextIO, cast


def unfailing(stream: TextIO) -> TextIO:
    """A stream that passes text on to another, and drops what that refuses."""
    return cast("TextIO", _Unfailing(stream))


class _Unfailing(TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def isatty(self) -> bool:
        return self._stream.isatty()
