"""Small files that several processes share: replaced atomically, and put aside if damaged."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError

_M = TypeVar("_M", bound=BaseModel)
_log = structlog.get_logger(__name__)


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of a file atomically: a reader sees either the old or the new content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def put_aside(path: Path) -> Path:
    """Rename a damaged file or folder, so that its owner starts without it, and return its new path.

    Only the last damaged one is kept.
    """
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir():
        shutil.rmtree(aside)
    with suppress(FileNotFoundError):  # another process has put it aside meanwhile
        path.replace(aside)
    return aside


def read_model(path: Path, model: type[_M]) -> _M:
    """The content of a file, or the default if there is none. A damaged file is put aside, with a message."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return model()
    except ValidationError as error:
        _log.warning("damaged file put aside", moved_to=str(put_aside(path)), errors=error.error_count())
        return model()


def lock(descriptor: int, attempts: int) -> bool:
    """Take the exclusive lock of a file; whether that succeeded within some attempts of 20 ms."""
    for _ in range(attempts):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def quoted(value: str) -> str:
    """A value as a line of ``stack.env`` holds it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
