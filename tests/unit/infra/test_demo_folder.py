"""The demo empties its own folder alone, asks where somebody may need the contents, and changes nothing before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.keys import create
from dualcast.adapters.store.migrate import migrate
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from infra.demo.folder import FolderError, prepare
from infra.demo.plan import Options
from infra.demo.run import Demo
from infra.demo.steps import StepError
from infra.local.commands import app
from infra.local.state import Maker, StateDir


def never(reason: str) -> bool:
    raise AssertionError(f"asked: {reason}")


def demo_in(state: StateDir, data: Path | None = None) -> Demo:
    return Demo(Options("de_load", data, None, None, 1, 3600.0), state, Console(quiet=True))


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """The folder of an earlier demo with something in it."""
    state = StateDir(tmp_path / "state")
    state.create(Maker.DEMO)
    (state.root / "lake").mkdir()
    (state.root / "lake" / "old").touch()
    return state


def test_the_folder_of_an_earlier_demo_is_emptied_without_a_question(state: StateDir) -> None:
    prepare(state, keep=True, may_empty=never)
    assert (state.root / "lake" / "old").exists()
    prepare(state, keep=False, may_empty=never)
    assert not (state.root / "lake").exists()
    assert state.maker is Maker.DEMO


def test_a_folder_that_dualcast_did_not_create_is_never_emptied(tmp_path: Path) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    with pytest.raises(FolderError, match="dualcast did not create it"):
        prepare(StateDir(foreign), keep=False, may_empty=never)
    assert (foreign / "thesis.txt").exists()


@pytest.mark.parametrize("maker", ["stack", ""])
def test_a_folder_that_up_made_is_emptied_only_if_allowed(state: StateDir, maker: str) -> None:
    (state.root / ".dualcast-state").write_text(maker)  # earlier versions left it empty
    with pytest.raises(FolderError, match=r"not made by the demo(?s:.)*--yes"):
        prepare(state, keep=False, may_empty=lambda _: False)
    assert (state.root / "lake" / "old").exists()
    prepare(state, keep=False, may_empty=lambda _: True)
    assert not (state.root / "lake").exists()


def test_a_folder_with_access_keys_is_emptied_only_if_allowed(state: StateDir) -> None:
    engine = open_store(Settings(state_dir=state.root))
    migrate(engine)
    create(engine, "desk", "reader", ["*/*"], Clock().now())
    engine.dispose()
    with pytest.raises(FolderError, match="holds access keys"):
        prepare(state, keep=False, may_empty=lambda _: False)
    assert (state.root / "store.db").exists()


def test_a_store_without_keys_is_emptied_without_a_question(state: StateDir) -> None:
    engine = open_store(Settings(state_dir=state.root))
    migrate(engine)
    engine.dispose()
    prepare(state, keep=False, may_empty=never)
    assert not (state.root / "store.db").exists()


def test_a_damaged_store_counts_as_one_with_keys(state: StateDir) -> None:
    (state.root / "store.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    with pytest.raises(FolderError, match="holds access keys"):
        prepare(state, keep=False, may_empty=lambda _: False)


def test_a_link_in_the_state_folder_is_deleted_and_not_followed(state: StateDir, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "measured.csv").touch()
    (state.root / "link").symlink_to(tmp_path / "data")
    prepare(state, keep=False, may_empty=never)
    assert (tmp_path / "data" / "measured.csv").exists()


def test_the_demo_leaves_a_running_stack_and_its_folder_alone(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = state.acquire_supervisor_lock()
    assert lock is not None
    monkeypatch.setattr("infra.demo.run.stack.stop", lambda *_: pytest.fail("the running stack was stopped"))
    with pytest.raises(FolderError, match="dualcast down"):
        demo_in(state).run(keep_state=False, keep_serving=False, may_empty=never)
    assert (state.root / "lake" / "old").exists()
    os.close(lock)


def test_unusable_input_is_refused_before_anything_is_deleted(state: StateDir, tmp_path: Path) -> None:
    table = tmp_path / "load.csv"
    table.write_text("when,laod\n2022-01-01T00:00:00Z,1\n")
    with pytest.raises(StepError, match=r"load\.csv"):
        demo_in(state, table).run(keep_state=False, keep_serving=False, may_empty=never)
    assert (state.root / "lake" / "old").exists()


def test_without_a_terminal_the_command_needs_yes(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    (state.root / ".dualcast-state").write_text("stack")
    monkeypatch.setenv("DUALCAST_STATE_DIR", str(state.root))
    result = CliRunner().invoke(app, ["demo", "--no-keep"])
    assert result.exit_code == 1
    assert "--yes" in result.output
    assert (state.root / "lake" / "old").exists()
