"""Where a restarted job resumes, which clock it reads, and how commands report wrong options."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from streaming.job import checkpoints, clock, java
from streaming.job.commands import app


def checkpoint(folder: Path, run: str, name: str, age: int, *, complete: bool = True) -> Path:
    made = folder / run / name
    made.mkdir(parents=True)
    (made / "state").write_bytes(b"state of the job")
    if complete:
        (made / "_metadata").write_bytes(b"metadata")
        os.utime(made / "_metadata", (1e9 - age, 1e9 - age))
    return made


def test_a_run_resumes_from_the_newest_complete_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest_undamaged(tmp_path) is None
    checkpoint(tmp_path, "first", "chk-9", age=60)
    newest = checkpoint(tmp_path, "second", "chk-2", age=10)
    checkpoint(tmp_path, "second", "chk-3", age=0, complete=False)
    assert checkpoints.newest_undamaged(tmp_path) == newest
    checkpoints.remove_all_but(tmp_path, [newest])
    assert [run.name for run in tmp_path.iterdir()] == ["second"]


def test_a_run_resumes_from_a_newer_savepoint(tmp_path: Path) -> None:
    checkpoint(tmp_path, "first", "chk-9", age=60)
    for name, age in (("savepoint-1", 30), ("savepoint-2", 10)):
        checkpoint(tmp_path, checkpoints.SAVEPOINTS, name, age)
    newest = checkpoints.newest_undamaged(tmp_path)
    assert newest == tmp_path / checkpoints.SAVEPOINTS / "savepoint-2"
    checkpoints.remove_all_but(tmp_path, [newest])
    assert [path.name for path in tmp_path.glob("*/*")] == ["savepoint-2"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: os.truncate(made / "state", 3),
        lambda made: (made / "state").write_bytes(b"state of the joB"),
        lambda made: (made / "state").unlink(),
        lambda made: os.truncate(made / "_metadata", 0),
    ],
    ids=["truncated", "changed", "missing", "empty"],
)
def test_a_run_resumes_from_an_older_checkpoint_if_the_newest_is_damaged(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    older, newest = checkpoint(tmp_path, "run", "chk-1", age=10), checkpoint(tmp_path, "run", "chk-2", age=5)
    checkpoints.seal(tmp_path)
    damage(newest)
    assert checkpoints.newest_undamaged(tmp_path) == older
    damage(older)
    assert checkpoints.newest_undamaged(tmp_path) is None, "the job starts over"


def test_a_checkpoint_that_was_not_sealed_is_used_unless_a_file_is_empty(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, "run", "chk-1", age=10)
    assert checkpoints.newest_undamaged(tmp_path) == made
    os.truncate(made / "state", 0)
    assert checkpoints.newest_undamaged(tmp_path) is None


def test_the_seals_of_removed_checkpoints_are_removed(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, "run", "chk-1", age=10)
    checkpoints.seal(tmp_path)
    shutil.rmtree(made)
    checkpoint(tmp_path, "run", "chk-2", age=5)
    checkpoints.seal(tmp_path)
    assert [file.name for file in (tmp_path / "sealed").iterdir()] == ["run-chk-2.json"]


def test_a_changed_state_format_uses_another_checkpoint_folder(tmp_path: Path, use_case: UseCase) -> None:
    settings = Settings(state_dir=tmp_path)
    part = use_case.part("intraday")
    others = [
        use_case.model_copy(update={"intraday": part.model_copy(update={"horizons": part.horizons + 1})}),
        use_case.model_copy(update={"intraday": part.model_copy(update={"ahead": 2 * part.ahead})}),
        use_case.model_copy(update={"variables": dict(reversed(use_case.variables.items()))}),
    ]
    folders = {checkpoints.folder(settings, changed) for changed in [use_case, *others]}
    folders |= {
        checkpoints.folder(Settings(state_dir=tmp_path, flink_python=m), use_case) for m in ("thread", "process")
    }
    assert len(folders) == 5
    assert checkpoints.folder(settings, use_case) == checkpoints.folder(settings, use_case.model_copy())


def test_python_does_not_handle_signals_inside_the_jvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervisors set PYTHONFAULTHANDLER. Inside the JVM, Python then handled SIGSEGV, and the JVM crashed."""
    monkeypatch.setattr(os, "environ", {**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONDEVMODE": "1"})
    java.prepare(Settings(state_dir=tmp_path, flink_python="thread"), "job")
    assert not {"PYTHONFAULTHANDLER", "PYTHONDEVMODE"} & set(os.environ)


def test_a_job_removes_temporary_files_of_its_last_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    left = tmp_path / "flink" / "tmp" / "job" / "planner.jar"
    left.parent.mkdir(parents=True)
    left.touch()
    java.prepare(Settings(state_dir=tmp_path), "job")
    assert f"-Djava.io.tmpdir={left.parent}" in os.environ["JVM_ARGS"].split()
    assert list(left.parent.iterdir()) == []
    spaced = tmp_path / "a folder"
    java.prepare(Settings(state_dir=spaced), "job")
    assert "-Djava.io.tmpdir" not in os.environ["JVM_ARGS"]


def test_a_clock_that_is_set_later_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_CHECK_SECONDS", 0.0)
    monkeypatch.delenv("DUALCAST_CLOCK", raising=False)
    live = clock.LiveClock(Settings(state_dir=tmp_path))
    assert live.now() > datetime(2025, 1, 1, tzinfo=UTC)
    frozen = '{"start":"2022-03-01T00:00:00Z","until":"2022-03-01T00:00:00Z"}'
    (tmp_path / "stack.env").write_text(f"DUALCAST_CLOCK='{frozen}'\n")
    assert live.now() == datetime(2022, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["wait-caught-up", "--until", "soon"], "'soon' is not a time"),
        (["wait-caught-up", "--until", "2022-03-01", "--tolerance", "long"], "'long' is not a duration"),
        (["features", "--delivery", "sometimes"], "'sometimes' is not one of"),
    ],
)
def test_wrong_options_are_reported(arguments: list[str], answer: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert answer in result.output
