"""The state folder of the demo: emptied at its start, unless it may hold what somebody needs."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from infra.local.state import Maker, StateDir
from infra.local.supervision import processes


class FolderError(RuntimeError):
    """The state folder may not be emptied or used. The message gives the cause and a remedy."""


def prepare(state: StateDir, *, keep: bool, may_empty: Callable[[str], bool]) -> None:
    """Empty the folder unless ``keep`` is set, and mark it as the demo's.

    ``may_empty`` is asked, with the reason, before a folder is emptied that another command made or that holds access
    keys. Raises FolderError, with nothing changed, if a stack runs there or the folder may not be emptied.
    """
    if state.supervisor_pid() is not None:
        raise FolderError(
            f"A stack is running in {state.root}. Run `dualcast down`, or set another DUALCAST_STATE_DIR."
        )
    if not keep and state.root.exists() and any(state.root.iterdir()):
        reason = _reason_to_ask(state)
        if reason and not may_empty(reason):
            raise FolderError(f"{reason}\nUse --yes to empty it, --keep-state, or another DUALCAST_STATE_DIR.")
        _empty(state)
    processes.sweep(state.status())
    state.create(Maker.DEMO)


def _reason_to_ask(state: StateDir) -> str:
    """Why somebody may need the contents of a folder; "" for the folder of an earlier demo."""
    if state.maker is None:
        raise FolderError(
            f"{state.root} contains files, and dualcast did not create it; the demo would empty it.\n"
            "Set DUALCAST_STATE_DIR to another folder, or use --keep-state."
        )
    if state.maker is not Maker.DEMO:
        return f"{state.root} was not made by the demo, which would delete its lake, models, store and topics."
    if _holds_keys(state.root / "store.db"):
        return f"{state.root} holds access keys, which the demo would delete with everything else."
    return ""


def _holds_keys(store: Path) -> bool:
    """Whether a store of the folder has access keys. A damaged one counts as if it had."""
    if not store.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'api_keys'").fetchone():
                return False
            return connection.execute("SELECT 1 FROM api_keys LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError:
        return True


def _empty(state: StateDir) -> None:
    processes.sweep(state.status())
    for entry in state.root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
